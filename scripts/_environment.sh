# Sourced by the scripts beside it, never run: finds Python, makes .venv in the checkout, installs autockd into it.
#
#   . "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
#   prepare_environment demo        # what autockd needs; `test` adds the tools and packages of the tests
#   "$VENV/bin/autockd" --version
#
# Nothing is installed again until pyproject.toml or this file changes. PYTHON=/path/to/python3 chooses the Python that
# .venv is made with.

set -euo pipefail

# Set in many containers. Every process of Ray's would compile anew all that it imports: nothing is compiled before it is
# used, for that takes pip longer than all the rest of its work.
unset PYTHONDONTWRITEBYTECODE

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
VENV="$ROOT/.venv"
STAMP="$VENV/.autockd-installed"       # "<kind> <checksum>" of the last complete installation
UNFINISHED="$VENV/.autockd-installing" # there while pip works: a killed pip can leave half a package that looks whole

# Packages that tests compare our losses with. Their own dependencies are many, old and not needed for that.
REFERENCE_PACKAGES=(torchdistill==1.1.5 textbrewer==0.2.1.post1 mmrazor==1.0.0)

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "error: $*"
  exit 3
}

# prepare_environment demo|test: make .venv ready for the kind of work; where two scripts start, the second one waits.
prepare_environment() {
  local kind="$1" wanted
  exec 9>"$ROOT/.venv.lock"
  ! command -v flock >/dev/null || flock 9
  wanted="$(checksum)"
  is_whole || make_venv
  if [ -e "$UNFINISHED" ]; then
    say ".venv: its last installation was broken off; starting afresh"
    make_venv
  fi
  is_installed "$kind" "$wanted" || install_packages "$kind" "$wanted"
  exec 9>&-
}

checksum() { cat "$ROOT/pyproject.toml" "$ROOT/scripts/_environment.sh" | cksum | tr ' ' '-'; }

# Whether .venv has a Python and a pip that belong to it: neither half-made, nor moved, nor without its base.
is_whole() {
  local found
  [ -x "$VENV/bin/python" ] && found="$("$VENV/bin/pip" --version 2>/dev/null)" && [[ "$found" == *"$VENV/"* ]]
}

is_installed() {
  [ -r "$STAMP" ] || return 1
  local kind made_from
  read -r kind made_from <"$STAMP" || return 1
  [ "$made_from" = "$2" ] && { [ "$kind" = "$1" ] || [ "$kind" = test ]; }
}

make_venv() {
  local python
  python="$(find_python)" || { install_python && python="$(find_python)"; } || no_python
  # Whatever a link leads to would be cleared, and is somebody else's.
  [ ! -L "$VENV" ] || fail ".venv is a link to $(readlink "$VENV"), and no environment of this checkout: remove the link"
  if [ -e "$VENV" ]; then
    say ".venv: not usable as it is; making it again"
  fi
  say ".venv: $("$python" --version) of $python"
  "$python" -m venv --clear "$VENV" || fail "$python cannot make a virtual environment in $VENV"
}

# Prints the first usable Python of 3.11 or later.
find_python() {
  local candidate candidates=(python3.11 python3.12 python3.13 python3)
  [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
  for candidate in "${candidates[@]}"; do
    # ensurepip is a package of its own on Debian, and a venv without it has no pip.
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

no_python() {
  fail "${PYTHON:-python3.11, python3.12, python3.13, python3}: none is a Python of 3.11 or later with venv and ensurepip;" \
    "install one (Debian: apt-get install python3-venv), or name one: PYTHON=/path/to/python3 $0"
}

# Debian's, where one may install it and nobody has named another.
install_python() {
  [ -z "${PYTHON:-}" ] && command -v apt-get >/dev/null && may_be_root || return 1
  wait # for whoever else installs Debian packages
  say "installing python3 and python3-venv"
  as_root apt-get update -qq >&2 && apt_install python3 python3-venv
}

may_be_root() { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi; }

# What takes long over a slow network is given up; what a broken-off installation would leave half-done is not.
apt_install() {
  local patience=(-o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 -o Acquire::Retries=1)
  local how=(env DEBIAN_FRONTEND=noninteractive apt-get "${patience[@]}" install -qq --yes --no-install-recommends)
  as_root timeout 300 "${how[@]}" --download-only "$@" >&2 && as_root "${how[@]}" "$@" >&2
}

install_packages() {
  local kind="$1" began=$SECONDS
  trap 'exit 130' INT # or a pip that was interrupted would be one that gave up by itself
  touch "$UNFINISHED"
  pip_install --upgrade pip # what comes with Python can be years old, and takes twice as long to decide what fits
  if [ "$kind" = demo ]; then
    say "installing autockd and what it needs into .venv (7 GB and some minutes the first time)"
    pip_install -e "$ROOT"
  else
    say "installing autockd, what it needs and the tools of its tests into .venv (7 GB and some minutes the first time)"
    pip_install -e "$ROOT[dev]"
    pip_install --no-deps "${REFERENCE_PACKAGES[@]}"
  fi
  printf '%s %s\n' "$kind" "$2" >"$STAMP"
  rm -f "$UNFINISHED"
  trap - INT
  say "installed in $((SECONDS - began)) s"
}

pip_install() {
  if ! "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-compile "$@"; then
    rm -f "$UNFINISHED" # pip gave up by itself, and cleans up when it does
    fail "pip could not install; its messages are above. Run $0 again once that is mended (or remove $VENV first)"
  fi
}
