#!/bin/sh
# Sets up the Python environment that `make` uses; `make` calls it when something is missing or out of date.
#
#   [PYTHON=python3.12] sh environment.sh <folder> [<extra of pyproject.toml>]
#
# The folder is made, by uv where it is installed and else by Python's own venv. A folder that already holds a Python
# is used as it is, and brought to the versions of constraints.txt. .podium in it says that it is ready.
# .podium-made says that it was made here: if it is not ready, or its Python is gone, it is made afresh. A folder
# without that mark is never removed.

set -eu
folder=$1 extra=${2:-}
python=$folder/bin/python ready=$folder/.podium made=$folder/.podium-made

main() {
    one_at_a_time
    if [ "$extra" ]; then
        echo "Installing what pyproject.toml lists under $extra into $folder"
        install "$extra"
        touch "$ready-$extra"
    elif ! is_ready; then
        if [ -e "$made" ] && ! { [ -e "$ready" ] && starts; }; then rm -rf "$folder"; fi
        [ -x "$python" ] || make_environment
        echo "Installing the packages of constraints.txt into $folder, once: some minutes, more if torch comes with CUDA"
        rm -f "$ready"
        install core,test
        install no-deps --no-deps
        touch "$ready"
    fi
}

starts() { "$python" -c '' 2>/dev/null; }

is_ready() { [ -e "$ready" ] && [ -z "$(find constraints.txt pyproject.toml -newer "$ready")" ] && starts; }

one_at_a_time() { # Python locks the shell's own file, which stays locked until the shell ends, however it ends
    mkdir -p "$(dirname "$folder")"
    exec 9>"$folder.lock"
    "${PYTHON:-python3}" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' 2>/dev/null || :
    trap 'rm -f "$folder.lock"' EXIT
}

make_environment() {
    base=$(find_python)
    mkdir -p "$folder"
    touch "$made"
    if has_uv && uv venv -q --seed --allow-existing --python "$base" "$folder"; then return; fi
    "$base" -m venv "$folder" ||
        fail "$base could not make an environment. On Debian and Ubuntu it needs: apt install python3-venv"
}

find_python() {
    if [ "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.13 python3.12 python3.11; fi
    for base; do
        if "$base" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$base"
            return
        fi
    done
    fail "Podium needs Python 3.11, 3.12 or 3.13, and $1 is: $("$1" --version 2>&1 || :)" \
        "If another is installed, name it: make … PYTHON=/path/to/python3.12"
}

install() { # <list of pyproject.toml>[,<another>] [<option>]
    "$python" - "$1" >"$folder/requirements.txt" <<'END'
import sys, tomllib
file = tomllib.load(open("pyproject.toml", "rb"))
lists = {"core": file["project"]["dependencies"], **file["project"]["optional-dependencies"], **file["dependency-groups"]}
print(*(requirement for name in sys.argv[1].split(",") for requirement in lists[name]), sep="\n")
END
    set -- ${2:+"$2"} -c constraints.txt -r "$folder/requirements.txt"
    # pip too where uv fails: pip's settings may name mirrors that uv does not know
    export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"
    if has_uv && while_telling uv pip install $([ -t 1 ] || echo -q) ${PIP_NO_INDEX:+--no-index} --python "$python" "$@"; then
        return
    fi
    [ -t 1 ] || set -- -qq "$@"
    while_telling "$python" -m pip install --disable-pip-version-check "$@"
}

while_telling() { # runs a command; a file or pipe, where it says nothing itself, gets a line now and then
    if [ -t 1 ]; then
        "$@"
        return
    fi
    (
        trap 'kill "$sleeper"; exit' TERM
        passed=0
        for pause in 10 20 30 300 300 300 300 300 300 300 300 300 300; do
            sleep "$pause" &
            sleeper=$!
            wait "$sleeper"
            passed=$((passed + pause))
            echo "still installing, $passed s so far"
        done
    ) 9>&- & # not the lock: it ends with us
    teller=$!
    code=0
    "$@" || code=$?
    kill "$teller" 2>/dev/null || :
    return "$code"
}

has_uv() { command -v uv >/dev/null; }

fail() {
    printf '%s\n' "$@" >&2
    exit 2
}

main
