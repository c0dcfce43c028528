"""Makes the environment, or checks one that exists. Standard library only, any Python 3.

python3 harness/setup.py .venv [cpu]     create .venv from requirements.txt
python  harness/setup.py --check         say which packages this Python lacks
"""

import os
import shutil
import subprocess
import sys
import textwrap

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST = (3, 10)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# What each distribution in requirements.txt is imported as, where the names differ.
IMPORTED_AS = {"scikit-learn": "sklearn", "nvidia-ml-py": "pynvml", "markdown-it-py": "markdown_it",
               "pytest-xdist": "xdist", "pytest-timeout": "pytest_timeout"}  # fmt: skip


def main():
    if sys.version_info < OLDEST:
        stop(
            "Python %d.%d is too old: 3.10 or newer is needed. Where you have one, say\n"
            "  make PYTHON=/path/to/python3.11 …   (an environment that exists), or put it first "
            "in PATH." % sys.version_info[:2]
        )
    if os.name == "nt":
        stop("Windows alone cannot run the days: clone the project in WSL 2, and work there.")
    if sys.argv[1:2] == ["--check"]:
        check("environment" in sys.argv[2:])
    else:
        create(sys.argv[1], "cpu" in sys.argv[2:])


def create(folder, cpu):
    """Create the environment; the file ``ready`` in it is written last and says it is whole."""
    ready = os.path.join(folder, "ready")
    fresh = not os.path.exists(ready)
    if fresh and os.path.exists(folder):
        print("Removing %s, which an earlier set-up left unfinished." % folder)
        shutil.rmtree(folder)
    if fresh:
        print("Setting up %s (once; torch is large: some minutes) …" % folder, flush=True)
    else:
        print("requirements.txt has changed: updating %s …" % folder, flush=True)
    try:
        if fresh:
            run([sys.executable, "-m", "venv", folder], "creating the virtual environment")
        python = os.path.join(folder, "bin", "python")
        if not os.path.exists(python):
            python = os.path.join(folder, "Scripts", "python.exe")
        install = [python, "-m", "pip", "install", "--disable-pip-version-check", "-q"]
        if cpu:
            install_cpu_torch(install)
        run([*install, "-r", os.path.join(ROOT, "requirements.txt")], "installing the packages")
        add_to_path(python)
    except BaseException as error:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        if not isinstance(error, SystemExit):
            print("\nset-up was stopped; nothing half-made is left behind", file=sys.stderr)
        raise
    with open(ready, "w") as file:
        file.write("set up by harness/setup.py\n")
    print("Ready.\n", flush=True)


def install_cpu_torch(install):
    """torch alone comes from PyTorch's index: every other package would be looked for there as
    well, and taken from whichever of the two has the higher version."""
    with open(os.path.join(ROOT, "requirements.txt")) as file:
        pinned = [line.split()[0] for line in file if line.startswith("torch==")]
    if not pinned:
        return
    # A host that does not answer is asked once, and for seconds. (Without the flags pip asks it six
    # times, and warns each time.)
    alone = ["--no-deps", "--index-url", CPU_INDEX, "--retries", "0", "--timeout", "10", pinned[0]]
    tried = subprocess.run([*install, *alone], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if tried.returncode:
        said = tried.stdout.decode(errors="replace").strip().splitlines()
        stop(
            "TORCH=cpu: %s has no %s for this machine, or cannot be reached (%s).\n"
            "Check the network. Behind a mirror of PyPI alone, leave TORCH=cpu out: the ordinary "
            "build works without a GPU, too." % (CPU_INDEX, pinned[0], said[-1] if said else "")
        )


def add_to_path(python):
    """Let `python dayNN.py` find this project from any folder."""
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.check_output([python, "-c", where], text=True).strip()
    with open(os.path.join(site, "mlsys_102.pth"), "w") as file:
        file.write(ROOT + "\n")


def run(command, doing):
    try:
        code = subprocess.call(command)
    except OSError as error:
        code = error
    if code:
        stop(
            "\nSet-up failed while %s (see above). Nothing half-made is left behind.\n"
            "Check the network, the free disk space (10 GB, or 3 GB with TORCH=cpu) and,\n"
            "on Debian or Ubuntu, that python3-venv is installed. Then run the same command again."
            % doing
        )


def check(exported):
    """``exported``: PYTHON was not written in the command, but stands in the environment.

    Name what the running Python lacks of requirements.txt's first section."""
    from importlib.util import find_spec

    lacking = []
    with open(os.path.join(ROOT, "requirements.txt")) as file:
        for line in file:
            if line.startswith("# What those need"):
                break
            requirement, _, marker = line.partition(";")
            name = requirement.split("==")[0].strip()
            if not name or name.startswith("#") or not applies(marker):
                continue
            if find_spec(IMPORTED_AS.get(name, name.replace("-", "_"))) is None:
                lacking.append(requirement.strip())
    # What only contributors need, or what has a substitute, is no reason to refuse an environment.
    spared = ("ruff", "mypy", "watchfiles", "pylatexenc")
    lacking = [r for r in lacking if r.split("==")[0] not in spared]
    or_else = "\nOr unset PYTHON, which your shell exports, and make sets up .venv." * exported
    if lacking:
        stop("%s lacks %s.\nInstall: %s -m pip install %s%s" % (
            sys.executable, ", ".join(lacking), sys.executable, " ".join(lacking),
            or_else), 3)  # fmt: skip


def applies(marker):
    if "sys_platform" in marker:
        return sys.platform == "linux"
    if "python_version" in marker:
        return sys.version_info < (3, 11)
    return True


def stop(message, code=3):
    if sys.stderr.isatty():  # a terminal would break words at its edge
        width = shutil.get_terminal_size().columns
        message = "\n".join(
            textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
            for line in message.split("\n")
        )
    print(message, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
