#!/usr/bin/env bash
# Fetches libtorch 2.11.0 for `tch` into .libtorch/ (git-ignored), from the wheels on PyPI.
#
#   deploy/fetch-libtorch.sh          the CPU set, or the full set where the machine has an NVIDIA GPU
#   deploy/fetch-libtorch.sh cpu      the CPU set whatever the machine has
#   deploy/fetch-libtorch.sh cuda     the full set whatever the machine has
#
# An existing LIBTORCH is used as it is. Every wheel is checked against the hashes in deploy/libtorch-*.lock.
# A second call with the same lock file does nothing.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target="$root/.libtorch"

say() { printf 'fetch-libtorch: %s\n' "$*"; }
fail() { printf 'fetch-libtorch: error: %s\n' "$1" >&2; printf '  hint: %s\n' "$2" >&2; exit 2; }

if [ -n "${LIBTORCH:-}" ] && [ "$(realpath -m "$LIBTORCH")" != "$(realpath -m "$target")" ]; then
  [ -e "$LIBTORCH/lib/libtorch_cpu.so" ] ||
    fail "LIBTORCH is set to '$LIBTORCH', which holds no lib/libtorch_cpu.so" "unset LIBTORCH to fetch libtorch, or point it at a torch folder of version 2.11.0"
  say "using LIBTORCH=$LIBTORCH"
  exit 0
fi

flavour=${1:-auto}
if [ "$flavour" = auto ]; then
  if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then flavour=cuda; else flavour=cpu; fi
fi
case $flavour in
  cpu | cuda) lock="$root/deploy/libtorch-$flavour.lock" ;;
  *) fail "unknown flavour '$flavour'" "use cpu or cuda" ;;
esac
stamp=$(sha256sum "$lock" "$0" | sha256sum | cut -c1-64)
if [ -e "$target/.stamp" ] && [ "$(cat "$target/.stamp")" = "$stamp" ]; then
  exit 0
fi

command -v python3 >/dev/null 2>&1 || fail "python3 is not installed" "install Python 3.9 or newer (Debian: apt-get install python3 python3-pip)"
python3 -m pip --version >/dev/null 2>&1 || fail "pip is not installed" "install pip (Debian: apt-get install python3-pip)"
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
  fail "no locked wheel for $(uname -s) $(uname -m)" "set LIBTORCH to a torch 2.11.0 folder built for this machine"

wheels=$(mktemp -d "$root/.libtorch-wheels.XXXXXX")
staging="$target.staging.$$"
trap 'rm -rf "$wheels" "$staging"' EXIT
say "fetching the $flavour set (CPU: about 545 MB to download and to keep)"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --no-cache-dir \
  --only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 --abi none \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_25_x86_64 \
  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform linux_x86_64 --platform any \
  --dest "$wheels" -r "$lock" ||
  fail "pip could not fetch the wheels" "check that PyPI can be reached (pip's own message is above), then run this again"

say "unpacking"
python3 - "$wheels" "$staging" "$flavour" <<'PY'
import pathlib, shutil, sys, zipfile

wheels, staging, flavour = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
CPU_LIBRARIES = ("libtorch_cpu.so", "libtorch.so", "libc10.so", "libgomp", "libcudart.so", "libcupti.so", "libtorch_global_deps.so", "libshm.so")


def destination(name: str) -> "pathlib.Path | None":
    """Where a wheel's member is kept, or None where nothing links it."""
    path = pathlib.PurePosixPath(name)
    if name.startswith("torch/include/"):
        return staging / "include" / path.relative_to("torch/include")
    if ".so" not in path.name or path.name.startswith("libtorch_python"):
        return None
    if flavour == "cpu" and not path.name.startswith(CPU_LIBRARIES):
        return None
    if "/lib/" in name or name.startswith("torch.libs/"):
        return staging / "lib" / path.name
    return None


for wheel in sorted(wheels.glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            kept = None if member.endswith("/") else destination(member)
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(kept, "wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
PY
printf '2.11.0\n' >"$staging/build-version"
printf '%s' "$stamp" >"$staging/.stamp"
rm -rf "$target"
mv "$staging" "$target"
say "libtorch 2.11.0 ($flavour) is in .libtorch ($(du -sh "$target" | cut -f1))"
