#!/usr/bin/env bash
# Checks the tools that a build needs and says what to install where one lacks. All gaps are told at once.
set -uo pipefail
missing=0
lack() { printf 'check-tools: error: %s\n  hint: %s\n' "$1" "$2" >&2; missing=1; }

if ! command -v cargo >/dev/null 2>&1; then
  lack "cargo is not installed" "install Rust 1.95 or newer with rustup"
else
  version=$(rustc --version | cut -d' ' -f2)
  [ "$(printf '%s\n1.95.0\n' "$version" | sort -V | head -n 1)" = 1.95.0 ] ||
    lack "rustc is $version, and 1.95 is needed" "run: rustup update stable"
fi
command -v c++ >/dev/null 2>&1 || lack "no C++ compiler (c++) is installed" "install one (Debian: apt-get install g++)"
if ! command -v python3 >/dev/null 2>&1; then
  lack "python3 is not installed (it unpacks libtorch)" "install Python 3.9 or newer (Debian: apt-get install python3 python3-pip python3-venv)"
elif ! python3 -m pip --version >/dev/null 2>&1; then
  lack "pip is not installed (it fetches libtorch)" "install pip (Debian: apt-get install python3-pip)"
fi
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || [ -n "${LIBTORCH:-}" ] ||
  lack "no libtorch is locked for $(uname -s) $(uname -m)" "set LIBTORCH to a torch 2.11.0 folder built for this machine"
free_mb=$(df -Pm . | awk 'NR == 2 { print $4 }')
[ "$free_mb" -ge 5000 ] || [ -d .libtorch ] || lack "only $free_mb MB are free here, and a build needs about 5,000" "free some space on this file system"
[ "$missing" = 0 ] || exit 2
