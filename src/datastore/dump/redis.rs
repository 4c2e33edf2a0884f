//! Redis and Valkey: an RDB, as a replica is sent one.

use super::{Part, Proof, script};
use crate::model::Secret;

/// The first bytes of an RDB.
pub const BEGINS: &[u8] = b"REDIS";
/// The end of an RDB, before its checksum. <https://rdb.fnordig.de/file_format.html>
const END: u8 = 0xff;
const CHECKSUM: usize = 8;
/// A server that does not write to its disk first ends what it sends with a mark of this length, and `redis-cli` hands it
/// on when it writes to stdout. It is not of the RDB.
const MARK: usize = 40;

/// Finds the client, and logs in: without a password, with the one on the first line of stdin, with those that the
/// container's environment has or names a file for, and with those of the configuration files among the server's own
/// arguments. It goes to the client through the environment, made here, inside the container.
const LOGIN: &str = r#"c=$(command -v redis-cli || command -v valkey-cli || command -v keydb-cli) || { echo 'redis-cli is not in the image' >&2; exit 127; }
IFS= read -r given || :
config=$1 port=$2; shift 2
[ -z "$port" ] || set -- -p "$port" "$@"
try() {
  [ -z "$1" ] || export REDISCLI_AUTH="$1"
  said=$("$c" ${port:+-p "$port"} ping 2>&1)
  case $said in *PONG*) return 0 ;; esac
  return 1
}
in_file() { [ -z "$1" ] || sed -n 's/^ *requirepass  *"\{0,1\}\([^"]*\)"\{0,1\} *$/\1/p' "$1" 2>/dev/null | tail -n 1; }
from() { [ -z "$1" ] || cat "$1"; }
try "" || try "$given" || try "${REDIS_PASSWORD-}" || try "${VALKEY_PASSWORD-}" || try "${REDIS_PASS-}" ||
  try "$(from "${REDIS_PASSWORD_FILE-}")" || try "$(from "${VALKEY_PASSWORD_FILE-}")" || try "$(in_file "$config")" ||
  { echo "$said" >&2; exit 1; }
"#;

/// What the command line of a server says about how to reach it.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Its password: it goes through stdin.
    pub password: Option<Secret>,
    /// Its configuration file.
    pub config: String,
    /// Its port, if not the usual one.
    pub port: String,
}

impl Access {
    /// Reads the command line of a container; a shell's, too.
    #[must_use]
    pub fn of(command: &[String]) -> Self {
        let joined = command.join(" ");
        let words: Vec<&str> = joined.split_whitespace().collect();
        let after = |option: &str| {
            let at = words.iter().position(|word| *word == option)?;
            let value = words.get(at + 1)?.trim_matches(['"', '\'']);
            // A variable of the container's own shell is looked for there.
            (!value.starts_with('$') && !value.is_empty()).then(|| value.to_owned())
        };
        let config = words.iter().find(|word| word.ends_with(".conf"));
        Self {
            password: after("--requirepass").map(Secret::new),
            config: config.map(|word| (*word).to_owned()).unwrap_or_default(),
            port: after("--port").unwrap_or_default(),
        }
    }

    /// What the client is given on stdin.
    #[must_use]
    pub fn stdin(&self) -> Vec<u8> {
        let password = self.password.as_ref().map(Secret::reveal).unwrap_or_default();
        format!("{password}\n").into_bytes()
    }

    /// The client with these arguments.
    #[must_use]
    pub fn client(&self, arguments: &[&str]) -> Vec<String> {
        let mut words = vec![self.config.as_str(), self.port.as_str()];
        words.extend(arguments);
        script(&format!("{LOGIN}exec \"$c\" \"$@\""), &words)
    }

    /// The one file of a dump: what the server would write to its own disk.
    /// <https://redis.io/docs/latest/develop/tools/cli/#remote-backups-of-rdb-files>
    #[must_use]
    pub fn all(&self) -> Part {
        Part {
            file: "dump.rdb".to_owned(),
            database: None,
            write: self.client(&["--rdb", "-"]),
            proof: Proof::Rdb,
        }
    }
}

/// Writes stdin to a file in the server's directory, under another name first.
#[must_use]
pub fn keep_as(path: &str) -> Vec<String> {
    let text = r#"set -e; cat > "$1.rehome"; chown "$(stat -c %u:%g "$(dirname "$1")")" "$1.rehome"
mv "$1.rehome" "$1""#;
    script(text, &[path])
}

/// Makes the RDB `path` what a server begins with that keeps a log: such a server does not look at an RDB. Its log begins
/// with one, since version 7 in a directory with a list, before that in one file.
/// <https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/#log-rewriting>
#[must_use]
pub fn begin_log_with(path: &str, directory: &str, log: &str, log_directory: &str) -> Vec<String> {
    let text = r#"set -e
to=$2/$3
list=$2/$4/$3.manifest
if [ -n "$4" ] && [ -s "$list" ]; then
  base=$(sed -n 's/^file \(.*\) seq [0-9]* type b.*$/\1/p' "$list")
  [ -n "$base" ] || { echo "$list names no beginning" >&2; exit 1; }
  to=$2/$4/$base
fi
cp "$1" "$to.rehome"
chown "$(stat -c %u:%g "$2")" "$to.rehome"
mv "$to.rehome" "$to""#;
    script(text, &[path, directory, log, log_directory])
}

/// Checks an RDB, and says how many keys it has. Exit code 127 where it is not there.
#[must_use]
pub fn check(path: &str) -> Vec<String> {
    script(
        r#"c=$(command -v redis-check-rdb || command -v valkey-check-rdb) || exit 127; exec "$c" "$1""#,
        &[path],
    )
}

/// Of what [`check`] says: how many keys, how many of them end some day, and how many had ended already.
#[must_use]
pub fn checked(said: &str) -> Option<(u64, u64, u64)> {
    let number = |of: &str| {
        let line = said.lines().find(|line| line.trim_end().ends_with(of))?;
        let words = line.trim_end().strip_suffix(of)?.trim_end();
        words.rsplit(' ').next()?.parse().ok()
    };
    Some((
        number("keys read")?,
        number("expires")?,
        number("already expired")?,
    ))
}

/// Reads `INFO keyspace`: keys, and how many of them end some day, by database.
#[must_use]
pub fn keyspace(said: &str) -> Vec<(String, u64, u64)> {
    let one = |line: &str| {
        let (database, facts) = line.trim().split_once(':')?;
        let fact = |name: &str| {
            let mut all = facts.split(',').filter_map(|fact| fact.split_once('='));
            all.find(|(n, _)| *n == name)?.1.parse().ok()
        };
        database
            .starts_with("db")
            .then_some((database.to_owned(), fact("keys")?, fact("expires")?))
    };
    said.lines().filter_map(one).collect()
}

/// An RDB that goes by: proves its checksum, and takes off what is not of it.
#[derive(Debug)]
pub struct Rdb {
    crc: Crc64,
    /// The last bytes, of which it is not known yet what they are.
    tail: Vec<u8>,
    /// The last byte before them, and how many there were.
    before: Option<u8>,
    length: u64,
    begins: Vec<u8>,
}

impl Default for Rdb {
    fn default() -> Self {
        Self {
            crc: Crc64::new(),
            tail: Vec::new(),
            before: None,
            length: 0,
            begins: Vec::new(),
        }
    }
}

impl Rdb {
    /// Takes the next bytes, and gives back those that surely belong to it.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let wanted = BEGINS.len().saturating_sub(self.begins.len());
        self.begins.extend(&bytes[..bytes.len().min(wanted)]);
        self.tail.extend_from_slice(bytes);
        let sure = self.tail.len().saturating_sub(CHECKSUM + MARK);
        let rest = self.tail.split_off(sure);
        let sure = std::mem::replace(&mut self.tail, rest);
        self.crc.feed(&sure);
        self.before = sure.last().copied().or(self.before);
        self.length += sure.len() as u64;
        sure
    }

    /// Gives back the last bytes that belong to it.
    ///
    /// # Errors
    /// Why it is not whole.
    pub fn end(self) -> Result<Vec<u8>, String> {
        if self.begins != BEGINS {
            return Err("it does not begin as an RDB does".to_owned());
        }
        let whole = |content: &[u8], checksum: &[u8]| {
            let mut crc = self.crc.clone();
            crc.feed(content);
            let last = content.last().copied().or(self.before);
            // A server may be told to write none: then it is zero.
            last == Some(END) && (checksum == crc.sum().to_le_bytes() || checksum == [0; CHECKSUM])
        };
        let tail = &self.tail;
        if let Some(at) = tail.len().checked_sub(CHECKSUM)
            && whole(&tail[..at], &tail[at..])
        {
            return Ok(self.tail);
        }
        if tail.len() == CHECKSUM + MARK && whole(&[], &tail[..CHECKSUM]) {
            return Ok(tail[..CHECKSUM].to_vec());
        }
        Err("its checksum is not that of its content".to_owned())
    }
}

/// The checksum of an RDB: CRC-64 with the polynomial of Jones, reflected.
/// <https://github.com/redis/redis/blob/7.0.15/src/crc64.c>
#[derive(Debug, Clone)]
struct Crc64 {
    table: [u64; 256],
    sum: u64,
}

impl Crc64 {
    fn new() -> Self {
        const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
        let mut table = [0; 256];
        for (n, entry) in (0_u64..).zip(table.iter_mut()) {
            let step = |sum: u64, _| {
                if sum & 1 == 1 {
                    (sum >> 1) ^ POLYNOMIAL
                } else {
                    sum >> 1
                }
            };
            *entry = (0..8).fold(n, step);
        }
        Self { table, sum: 0 }
    }

    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.sum = self.table[usize::from(self.sum as u8 ^ byte)] ^ (self.sum >> 8);
        }
    }

    fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_redis() {
        let mut crc = Crc64::new();
        crc.feed(b"123456789");
        // The example in Redis's own source.
        assert_eq!(crc.sum(), 0xe9c6_d914_c4b8_d9ca);
    }

    fn rdb(content: &[u8]) -> Vec<u8> {
        let mut bytes = [b"REDIS0010", content, &[END]].concat();
        let mut crc = Crc64::new();
        crc.feed(&bytes);
        bytes.extend(crc.sum().to_le_bytes());
        bytes
    }

    fn through(bytes: &[u8], at_once: usize) -> Result<Vec<u8>, String> {
        let mut rdb = Rdb::default();
        let mut out: Vec<u8> = bytes.chunks(at_once).flat_map(|c| rdb.feed(c)).collect();
        out.extend(rdb.end()?);
        Ok(out)
    }

    #[test]
    fn a_mark_behind_an_rdb_is_taken_off_and_nothing_else_is() {
        for content in [&b""[..], b"some", &[7; 1000]] {
            let whole = rdb(content);
            let marked = [&whole[..], &[b'm'; MARK]].concat();
            for at_once in [1, 5, 48, 10_000] {
                assert_eq!(through(&whole, at_once).unwrap(), whole);
                assert_eq!(through(&marked, at_once).unwrap(), whole);
            }
            for cut in 0..whole.len() {
                through(&whole[..cut], 10_000).unwrap_err();
            }
            let mut flipped = whole.clone();
            flipped[5] ^= 4;
            through(&flipped, 10_000).unwrap_err();
        }
    }

    #[test]
    fn what_reaches_a_server_is_read_off_its_command_line() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let access = Access::of(&words(
            "docker-entrypoint.sh redis-server /etc/redis/redis.conf --port 6390 --requirepass s3cret",
        ));
        assert_eq!(
            (access.config.as_str(), access.port.as_str()),
            ("/etc/redis/redis.conf", "6390")
        );
        assert_eq!(access.stdin(), b"s3cret\n");
        assert!(!access.client(&["ping"]).concat().contains("s3cret"));
        let shell = Access::of(&[
            "sh".into(),
            "-c".into(),
            "redis-server --requirepass \"$PASS\"".into(),
        ]);
        assert!(shell.password.is_none());
    }

    #[test]
    fn the_words_of_redis_are_understood() {
        let said = "[offset 0] Checking RDB file dump.rdb\n[info] 12 keys read\n[info] 3 expires\n[info] 1 already expired\n";
        assert_eq!(checked(said), Some((12, 3, 1)));
        assert_eq!(
            keyspace("# Keyspace\r\ndb0:keys=5,expires=1,avg_ttl=9\r\ndb3:keys=2,expires=0,avg_ttl=0\r\n"),
            [("db0".to_owned(), 5, 1), ("db3".to_owned(), 2, 0)]
        );
    }
}
