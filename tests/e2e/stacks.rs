//! The stacks that the tests move.

use crate::support::{BUSYBOX, POSTGRES, Stack, sh};

/// Three services of busybox: `app` writes to `data`, `web` serves it read-only and depends on `app`, `side` has a
/// volume of its own that stays. Cheap: up in a second.
pub fn small() -> Stack {
    small_with("", "")
}

/// The same with more lines for `app` and at the end of the file.
pub fn small_with(app: &str, end: &str) -> Stack {
    let stack = Stack::write(&format!(
        r#"services:
  app:
    image: {BUSYBOX}
    command: ["sh", "-c", "trap 'exit 0' TERM; while true; do cat /proc/uptime >> /data/log; sleep 0.1; done"]
    volumes: ["data:/data"]
    restart: unless-stopped
    stop_grace_period: 5s
    healthcheck: {{ test: ["CMD", "test", "-s", "/data/log"], interval: 1s, retries: 5 }}
{app}
  web:
    image: {BUSYBOX}
    command: ["httpd", "-f", "-p", "8000", "-h", "/www"]
    volumes: ["data:/www:ro"]
    depends_on: {{ app: {{ condition: service_healthy }} }}
    stop_grace_period: 1s
    init: true
  side:
    image: {BUSYBOX}
    command: ["sh", "-c", "echo side > /side/file; exec sleep 1000000"]
    volumes: ["side_volume:/side"]
    init: true
    stop_grace_period: 1s
volumes:
  data:
  side_volume:
{end}
"#
    ));
    stack.file("rehome.yml", "version: 1\nblock:\n  exclude: [side_volume]\n");
    stack
}

/// The small stack with services that the engine starts by itself when it comes back, even those that were stopped.
/// (`unless-stopped` would not do: after a kill the engine takes what still ran for stopped.)
pub fn restarting() -> Stack {
    let stack = small();
    let text = stack
        .read("docker-compose.yml")
        .replace("restart: unless-stopped", "restart: always")
        .replace("    init: true", "    init: true\n    restart: always");
    stack.file("docker-compose.yml", &text);
    stack
}

/// The lines that the writer of the small stack has written.
pub fn log(stack: &Stack) -> Vec<String> {
    stack
        .exec("app", "cat /data/log")
        .lines()
        .map(str::to_owned)
        .collect()
}

/// The small stack, running, with files of every kind in its volume.
pub fn small_up() -> Stack {
    let stack = small();
    stack.compose("up -d");
    furnish(&stack, "data");
    stack
}

/// Puts files of every kind into a volume.
pub fn furnish(stack: &Stack, key: &str) {
    let dir = stack.volume_dir(key);
    let d = dir.display();
    sh(&format!(
        r#"cd {d} && mkdir -p a/b/c empty "with space" && echo hello > a/b/c/file && head -c 3000000 /dev/urandom > a/big \
        && ln -s ../a/big a/link && ln -s /etc/passwd a/outside && ln a/big a/hard && mkfifo a/fifo && mknod a/null c 1 3 \
        && truncate -s 20M a/sparse && printf x | dd of=a/sparse bs=1 seek=10000000 conv=notrunc status=none \
        && printf 'not utf-8' > "$(printf 'a/\xff\xfe')" && touch "a/$(printf 'n%.0s' $(seq 1 255))" \
        && chmod 4755 a/b/c/file && chmod 1777 empty && chown 1234:4321 a/b/c/file && setfattr -n user.note -v kept a/b/c/file && setfattr -n trusted.note -v kept a/b \
        && setfacl -m u:1000:rw a/b/c/file && touch -d '2001-02-03 04:05:06.789012345' a/big && chown 999:998 . && chmod 0751 ."#
    ));
}

/// PostgreSQL with its data in a sub-directory of the mount, and a client that waits for it.
pub fn postgres(image: &str) -> Stack {
    let stack = Stack::write(&format!(
        r#"services:
  db:
    image: {image}
    environment: {{ POSTGRES_USER: app, POSTGRES_PASSWORD: secret-pw-7, POSTGRES_DB: app, PGDATA: /var/lib/postgresql/data/pgdata }}
    volumes: ["postgres_data:/var/lib/postgresql/data"]
    restart: unless-stopped
    healthcheck: {{ test: ["CMD-SHELL", "pg_isready -h 127.0.0.1 -U app -d app"], interval: 1s, retries: 30 }}
  api:
    image: {BUSYBOX}
    command: ["sleep", "1000000"]
    init: true
    stop_grace_period: 1s
    depends_on: {{ db: {{ condition: service_healthy }} }}
volumes:
  postgres_data:
"#
    ));
    stack.compose("up -d --wait");
    stack.exec("db", "psql -q -U app -d app -c 'create table t (id bigserial primary key, v text); insert into t (v) select md5(i::text) from generate_series(1, 2000) i'");
    stack
}

/// PostgreSQL as most tests want it.
pub fn postgres_up() -> Stack {
    postgres(POSTGRES)
}

/// A checksum over the table, computed by the database.
pub fn table_sum(stack: &Stack) -> String {
    stack.exec(
        "db",
        "psql -tAX -U app -d app -c \"select count(*), md5(string_agg(id || v, ',' order by id)) from t\"",
    )
}

/// A port of this host that nobody has now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

/// The example stack of this repository, running, on a port of its own.
pub fn example() -> Stack {
    let (stack, _) = copy_of(
        "kms-connect",
        "STACK=NAME\nCOMPOSE_FILE=docker-compose.prod.yml\n",
    );
    stack.compose("up -d --wait");
    stack
}

/// The files of an example stack with more settings, not started, and its port.
pub fn copy_of(example: &str, settings: &str) -> (Stack, u16) {
    let stack = Stack::write("");
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/compose");
    let port = free_port();
    sh(&format!(
        "rm {d}/docker-compose.yml && cp -R {from}/{example}/. {d}",
        d = stack.dir.display()
    ));
    let settings = format!("{}HTTP_PORT={port}\n{settings}", stack.read(".env.example"));
    stack.file(".env", &settings);
    (stack, port)
}
