# The environment of the days: Ubuntu 24.04 with CUDA 13 (what torch 2.13.0 is built for), Python,
# torch and triton at the versions of requirements.txt, and a C compiler, which Triton calls when it
# builds a kernel's launcher. The project itself is mounted, not copied: what you write stays yours.
#
#   docker build -t mlsys-102 .                                            CUDA 13, driver 580 or newer
#   docker build -t mlsys-102:cu126 --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 \
#       --build-arg BASE_IMAGE=nvidia/cuda:12.6.3-base-ubuntu24.04 .       older drivers (560 or newer)
#   docker build -t mlsys-102:cpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu \
#       --build-arg BASE_IMAGE=ubuntu:24.04 .                              no GPU, a third of the size
ARG BASE_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04
FROM ${BASE_IMAGE}

ARG REQUIREMENTS=requirements.txt
ARG TORCH_INDEX=
ARG USER_NAME=learner
ARG USER_ID=1000

LABEL org.opencontainers.image.title="mlsys-102" \
      org.opencontainers.image.description="102 days of exercises: Triton, PyTorch, autodiff" \
      org.opencontainers.image.licenses="MIT"

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# gcc and python3-dev: Triton compiles its launchers with them at run time.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates gcc git less libc6-dev make python3 python3-dev python3-venv sudo \
    && rm -rf /var/lib/apt/lists/*

# Ubuntu 24.04's images have a user 1000 already ("ubuntu"); a bind-mounted tree should belong to
# the person at the keyboard, whose id is usually 1000: that user is renamed, not doubled.
RUN if existing=$(getent passwd "${USER_ID}" | cut -d: -f1) && [ -n "${existing}" ]; then \
        if [ "${existing}" != "${USER_NAME}" ]; then \
            usermod --login "${USER_NAME}" --home "/home/${USER_NAME}" --move-home "${existing}" \
            && groupmod --new-name "${USER_NAME}" "$(id -gn "${USER_ID}")"; \
        fi; \
    else \
        useradd --create-home --uid "${USER_ID}" --shell /bin/bash "${USER_NAME}"; \
    fi \
    && usermod --shell /bin/bash "${USER_NAME}" \
    && echo "${USER_NAME} ALL=(root) NOPASSWD:ALL" > "/etc/sudoers.d/${USER_NAME}" \
    && install -d -o "${USER_ID}" -g "${USER_ID}" /opt/venv /workspaces

USER ${USER_NAME}
COPY --chown=${USER_ID} ${REQUIREMENTS} /tmp/requirements.txt
RUN --mount=type=cache,target=/home/${USER_NAME}/.cache/pip,uid=${USER_ID} \
    python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --disable-pip-version-check \
        ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} -r /tmp/requirements.txt

# PYTHON tells the Makefile that the environment is ready: it makes none of its own.
ENV PYTHON=/opt/venv/bin/python \
    PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
WORKDIR /workspaces/mlsys-102

# No HEALTHCHECK: the container is a shell to work in, not a service that can fall ill.
CMD ["bash"]
