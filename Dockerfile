# The environment of the days: Ubuntu 24.04 with CUDA 13 (what torch 2.13.0 is built for), Python,
# torch and triton at the versions of requirements.txt, and a C compiler, which Triton calls when it
# builds a kernel's launcher. The project itself is mounted, not copied: what you write stays yours.
#
# `make image` picks the variant that this machine can run; ci/container.sh knows their arguments:
#
#   cuda    CUDA 13.0            NVIDIA driver 580 or newer        x86-64 and arm64
#   cu126   CUDA 12.6            drivers 525 to 579                x86-64
#   cpu     no CUDA              no GPU; a third of the size       x86-64 and arm64
ARG BASE_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04
FROM ${BASE_IMAGE}

LABEL org.opencontainers.image.title="mlsys-102" \
      org.opencontainers.image.description="102 days of exercises: Triton, PyTorch, autodiff" \
      org.opencontainers.image.licenses="MIT"

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# gcc and python3-dev: Triton compiles its launchers with them at run time. Versions are those of the
# base image's distribution, which keeps only the newest: pinning them would break the build instead.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates gcc git less libc6-dev make openssh-client python3 python3-dev python3-venv sudo \
    && rm -rf /var/lib/apt/lists/*

# A bind-mounted tree should belong to the person at the keyboard, whose id is usually 1000. Ubuntu
# 24.04's images have a user of that id already ("ubuntu"): it is renamed, not doubled.
ARG USER_NAME=learner
ARG USER_ID=1000
ARG WORKSPACE=/workspaces/mlsys-102
RUN if existing=$(getent passwd "${USER_ID}" | cut -d: -f1); then \
        if [ "${existing}" != "${USER_NAME}" ]; then \
            usermod --login "${USER_NAME}" --home "/home/${USER_NAME}" --move-home "${existing}" \
            && groupmod --new-name "${USER_NAME}" "$(id -gn "${USER_NAME}")"; \
        fi; \
    else \
        useradd --create-home --user-group --uid "${USER_ID}" "${USER_NAME}"; \
    fi \
    && usermod --shell /bin/bash "${USER_NAME}" \
    && echo "${USER_NAME} ALL=(root) NOPASSWD:ALL" > "/etc/sudoers.d/${USER_NAME}" \
    && install -d -o "${USER_NAME}" -g "${USER_NAME}" \
        /opt/venv "${WORKSPACE}" "/home/${USER_NAME}/.cache" "/home/${USER_NAME}/.triton"

USER ${USER_NAME}

# One layer with everything that is large. The environment belongs to the user, who may add to it. The
# .pth file lets `python tracks/triton/day07.py` find the project from any folder.
ARG TORCH_INDEX=
RUN --mount=type=bind,source=requirements.txt,target=/tmp/requirements.txt \
    --mount=type=cache,id=mlsys-102-pip,target=/var/cache/pip,uid=1000,gid=1000,mode=0777 \
    python3 -m venv /opt/venv \
    && export PIP_CACHE_DIR=/var/cache/pip PIP_DISABLE_PIP_VERSION_CHECK=1 \
    && if [ -n "${TORCH_INDEX}" ]; then \
        /opt/venv/bin/pip install --no-deps --index-url "${TORCH_INDEX}" \
            "$(grep '^torch==' /tmp/requirements.txt)"; \
    fi \
    && /opt/venv/bin/pip install -r /tmp/requirements.txt \
    && echo "${WORKSPACE}" > "$(/opt/venv/bin/python -c \
        'import sysconfig; print(sysconfig.get_path("purelib"))')/mlsys_102.pth"

# PYTHON tells the Makefile that the environment is ready: it makes none of its own.
ENV PYTHON=/opt/venv/bin/python \
    PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
WORKDIR ${WORKSPACE}

# No HEALTHCHECK: the container is a shell to work in, not a service that can fall ill.
CMD ["bash"]
