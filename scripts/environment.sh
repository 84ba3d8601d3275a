# Shared by the scripts here; not run by itself. POSIX sh.
#
# prepare EXTRAS: make .venv/ with vfiostate and these extras ("" or "dev"), from nothing but python3 and git.
# As root it installs the Debian packages that are missing; otherwise it says the one command that does.
# What is there already is not made again, so that it works without a network from the second time on.

set -eu

# The directory that holds pyproject.toml, from wherever the script lies that reads this.
TOP=$(CDPATH= cd -- "$(dirname -- "$0")" && while [ ! -e pyproject.toml ] && [ "$PWD" != / ]; do cd ..; done; pwd)
VENV=$TOP/.venv

say() { printf "%s\n" "$@" >&2; }

die() {
    say "$@"
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

can_make_venvs() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

# install PACKAGE…: by apt-get as root; otherwise say the command and end.
install() {
    if [ "$(id -u)" -ne 0 ]; then
        die "Missing here: $*. This command installs it:" "" "    sudo apt-get install -y $*" "" "Then run $0 again."
    fi
    command -v apt-get >/dev/null || die "Missing here: $*. Please install it; there is no apt-get here."
    say "installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2 || {
        apt-get update -q >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2
    }
}

# The newest python3.X (X >= 11) that apt could install; nothing where there is none.
offered_python() {
    command -v apt-cache >/dev/null || return 0
    for minor in 14 13 12 11; do
        if apt-cache show "python3.$minor-venv" >/dev/null 2>&1; then
            echo "python3.$minor"
            return 0
        fi
    done
}

# Set PYTHON to one that is 3.11 or newer and can make virtual environments.
find_python() {
    found=
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if is_new_enough "$candidate"; then
            found=$candidate
            can_make_venvs "$candidate" && break
        fi
    done
    if [ -z "$found" ]; then
        [ "$(id -u)" -ne 0 ] || apt-get update -q >&2 || true
        found=$(offered_python)
        [ -n "$found" ] || die "vfiostate needs Python 3.11 or newer. Found: $(python3 -V 2>&1 || echo none)." \
            "This system offers none; install one (deadsnakes, pyenv, uv) and run: PYTHON=/path/to/python3 $0"
        install "$found" "$found-venv"
    elif ! can_make_venvs "$candidate"; then
        # Debian's python3-venv belongs to its python3; another version has a package of its own.
        case $found in
            python3) install python3-venv ;;
            *) install "$(basename "$found")-venv" ;;
        esac
    else
        found=$candidate
    fi
    PYTHON=$found
    can_make_venvs "$PYTHON" || die "$PYTHON still cannot make virtual environments (module ensurepip or venv)."
}

# What an installation depends on: where it lies, what it must hold, and which extras.
fingerprint() {
    { echo "$TOP $1" && cat "$TOP/pyproject.toml"; } | sha256sum | cut -d' ' -f1
}

prepare() {
    if [ ! -x "$VENV/bin/python" ] || ! is_new_enough "$VENV/bin/python"; then
        find_python
        say "making .venv/ with $("$PYTHON" -V)"
        "$PYTHON" -m venv --clear "$VENV"
    fi
    stamp=$VENV/.vfiostate${1:+-$1}
    wanted=$(fingerprint "$1")
    if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
        say "installing vfiostate${1:+ and what its tests need} into .venv/"
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$TOP${1:+[$1]}" >&2 ||
            die "The installation failed. The first run needs a network with a Python package index."
        # Last: an installation that was cut short is made again.
        echo "$wanted" >"$stamp"
    fi
}
