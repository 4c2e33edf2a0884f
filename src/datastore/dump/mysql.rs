//! MySQL and MariaDB: the clients of the server's own image, which log in with the password that the container has.

use std::collections::BTreeMap;

use super::{Part, Proof, script};

/// Logs in as `$1`: its password is in the container's own environment, or in a file that it names. It goes to the client
/// through the environment, made here, inside the container. Then `$c` is the first of the two programs that is there.
const LOGIN: &str = r#"u=$1 a=$2 b=$3; shift 3
case $u in root) k=ROOT_PASSWORD ;; *) k=PASSWORD ;; esac
for n in MARIADB_$k MYSQL_$k; do
  eval "v=\${$n-} f=\${${n}_FILE-}"
  if [ -n "$v" ]; then MYSQL_PWD=$v; break; fi
  if [ -n "$f" ]; then MYSQL_PWD=$(cat "$f") || exit 1; break; fi
done
export MYSQL_PWD
c=$(command -v "$a" || command -v "$b") || { echo "neither $a nor $b is in the image" >&2; exit 127; }
"#;

/// The schemas that are the server's own.
pub const OWN: [&str; 4] = ["mysql", "sys", "information_schema", "performance_schema"];

/// The server's version.
pub const VERSION: &str = "SELECT VERSION();";

/// Every table with rows of its own, schema and name in hex, a line each.
pub const TABLES: &str = "SELECT HEX(table_schema), HEX(table_name) FROM information_schema.tables \
     WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') \
     AND table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') ORDER BY 1, 2;";

/// The tables that no snapshot covers: a dump has them as they were when it came by.
pub const WITHOUT_SNAPSHOT: &str = "SELECT CONCAT(table_schema, '.', table_name, ' (', engine, ')') \
     FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND engine NOT IN ('InnoDB', 'ROCKSDB', 'MEMORY') \
     AND table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') ORDER BY 1;";

/// As whom a server is asked. `first` is the first variable of the environment that says something.
pub(super) fn user<'e>(first: impl Fn(&[&str]) -> Option<&'e str>) -> &'e str {
    let root = [
        "MARIADB_ROOT_PASSWORD",
        "MYSQL_ROOT_PASSWORD",
        "MARIADB_ROOT_PASSWORD_FILE",
        "MYSQL_ROOT_PASSWORD_FILE",
        "MARIADB_ALLOW_EMPTY_ROOT_PASSWORD",
        "MYSQL_ALLOW_EMPTY_PASSWORD",
    ];
    match first(&root) {
        Some(_) => "root",
        None => first(&["MARIADB_USER", "MYSQL_USER"]).unwrap_or("root"),
    }
}

/// The one file of a dump: all databases, users and rights included, of one snapshot.
///
/// No lock is taken. What no snapshot covers is listed by [`WITHOUT_SNAPSHOT`]. The position in a replication is left out:
/// a restored server begins one of its own.
/// <https://dev.mysql.com/doc/refman/8.4/en/mysqldump.html>, <https://mariadb.com/kb/en/mariadb-dump/>
#[must_use]
pub fn all(user: &str) -> Part {
    let dump = format!(
        r#"{LOGIN}case $("$c" --help 2>/dev/null) in *set-gtid-purged*) set -- --set-gtid-purged=OFF "$@" ;; esac
exec "$c" -u "$u" "$@""#
    );
    let options = [
        "--all-databases",
        "--single-transaction",
        "--quick",
        "--routines",
        "--events",
        "--triggers",
        "--hex-blob",
        "--flush-privileges",
        "--default-character-set=utf8mb4",
        "--max-allowed-packet=1G",
    ];
    Part {
        file: "all.sql".to_owned(),
        database: None,
        write: called(&dump, user, ["mariadb-dump", "mysqldump"], &options),
        proof: Proof::EndsWith("-- Dump completed"),
    }
}

/// A client that reads SQL from stdin, ends at the first error, and answers in lines without headings.
#[must_use]
pub fn client(user: &str) -> Vec<String> {
    let script = format!(r#"{LOGIN}exec "$c" -u "$u" "$@""#);
    let options = [
        "--batch",
        "--skip-column-names",
        "--default-character-set=utf8mb4",
        "--max-allowed-packet=1G",
    ];
    called(&script, user, ["mariadb", "mysql"], &options)
}

/// The same, in one database, which is made if it is not there; for somebody else's dump.
#[must_use]
pub fn client_in(user: &str, database: &str) -> Vec<String> {
    let mut words = client(user);
    words.push(format!("--database={database}"));
    words
}

/// Makes a database, if it is not there.
#[must_use]
pub fn create(database: &str) -> String {
    format!("CREATE DATABASE IF NOT EXISTS {};\n", quoted(database))
}

/// Whether the server answers, over TCP: while an image makes the database, its server can only be reached locally.
/// Whoever is refused was answered, too. <https://dev.mysql.com/doc/refman/8.4/en/mysqladmin.html>
#[must_use]
pub fn is_ready(user: &str) -> Vec<String> {
    let script = format!(
        r#"{LOGIN}said=$("$c" -u "$u" "$@" ping 2>&1) && exit 0
case $said in *'is not allowed to connect'*|*'Access denied'*) exit 0 ;; esac
echo "$said" >&2; exit 1"#
    );
    called(
        &script,
        user,
        ["mariadb-admin", "mysqladmin"],
        &["-h127.0.0.1", "--protocol=tcp"],
    )
}

/// Checks every table by what is in it; says nothing of those that are well. Exit code 127 where it is not there.
/// <https://dev.mysql.com/doc/refman/8.4/en/mysqlcheck.html>
#[must_use]
pub fn check(user: &str) -> Vec<String> {
    let script = format!(r#"{LOGIN}exec "$c" -u "$u" "$@""#);
    called(
        &script,
        user,
        ["mariadb-check", "mysqlcheck"],
        &["--all-databases", "--check", "--silent"],
    )
}

/// Of what [`check`] says, what is wrong. Tables of the server's own that cannot be checked are no fault.
#[must_use]
pub fn faults(said: &str) -> Vec<String> {
    let is_fault = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("error") || line.contains("corrupt")
    };
    said.lines().filter(is_fault).map(str::to_owned).collect()
}

fn called(text: &str, user: &str, programs: [&str; 2], options: &[&str]) -> Vec<String> {
    let mut words = vec![user, programs[0], programs[1]];
    words.extend(options);
    script(text, &words)
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Reads the lines of [`TABLES`]: schema and table.
#[must_use]
pub fn tables(answer: &str) -> Option<Vec<(String, String)>> {
    let text = |hex: &str| {
        let bytes: Option<Vec<u8>> = (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok())
            .collect();
        String::from_utf8(bytes?).ok()
    };
    let one = |line: &str| {
        let (schema, table) = line.split_once('\t')?;
        Some((text(schema)?, text(table)?))
    };
    answer.lines().filter(|line| !line.is_empty()).map(one).collect()
}

/// Asks how many rows each table has; each answer is the table's place in the list, and the number.
#[must_use]
pub fn count(tables: &[(String, String)]) -> String {
    let one = |(at, (schema, table)): (usize, &(String, String))| {
        format!(
            "SELECT {at}, COUNT(*) FROM {}.{};\n",
            quoted(schema),
            quoted(table)
        )
    };
    tables.iter().enumerate().map(one).collect()
}

/// Reads the answers to [`count`].
#[must_use]
pub fn counted(tables: &[(String, String)], answer: &str) -> Option<BTreeMap<String, u64>> {
    let one = |line: &str| {
        let (at, rows) = line.split_once('\t')?;
        let (schema, table) = tables.get(at.parse::<usize>().ok()?)?;
        Some((format!("{schema}.{table}"), rows.parse().ok()?))
    };
    let rows: BTreeMap<_, _> = answer
        .lines()
        .filter(|line| !line.is_empty())
        .map(one)
        .collect::<Option<_>>()?;
    (rows.len() == tables.len()).then_some(rows)
}

/// Counts the rows that a dump has, while it goes by: what is in the dump is what its snapshot had, and no lock has to be
/// taken for that. It knows SQL as `mysqldump` writes it, with `'…'` and `\`, and is told of nothing else.
#[derive(Debug, Default)]
pub struct Rows {
    at: At,
    /// The beginning of a line, until it is known what it is.
    line: Vec<u8>,
    schema: Option<String>,
    table: String,
    /// Inside of a routine, a trigger or an event, whose text may be anything.
    foreign: bool,
    /// Rows by `schema.table`, without the server's own.
    rows: BTreeMap<String, u64>,
}

/// Where in the dump.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    /// In a line that is collected.
    #[default]
    Line,
    /// In a line of which nothing more is wanted.
    Rest,
    /// Behind the name in `INSERT INTO`; in a name of a column if it is so.
    Columns(bool),
    /// Between the rows, or so many brackets deep in one.
    Values(u32),
    /// In a text of a row; behind a `\` if it is so.
    Text(u32, bool),
}

/// No line that is looked at is longer than the longest names make it: each has 64 characters of up to 4 bytes.
const LINE: usize = 1200;

impl Rows {
    /// The next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.at = self.next(byte);
        }
    }

    /// What was counted.
    #[must_use]
    pub fn counted(self) -> BTreeMap<String, u64> {
        self.rows
    }

    fn next(&mut self, byte: u8) -> At {
        match (self.at, byte) {
            (At::Line, b'\n') => {
                self.whole_line();
                self.line.clear();
                At::Line
            }
            (At::Line, _) => {
                self.line.push(byte);
                if self.inserts() {
                    self.line.clear();
                    return At::Columns(false);
                }
                if self.line.len() >= LINE {
                    self.whole_line();
                    self.line.clear();
                    return At::Rest;
                }
                At::Line
            }
            (At::Rest, b'\n') => At::Line,
            (At::Rest, _) => At::Rest,
            (At::Columns(quoted), b'`') => {
                self.line.clear();
                At::Columns(!quoted)
            }
            (At::Columns(false), _) => {
                self.line.push(byte);
                match self.line.ends_with(b"VALUES") {
                    true => {
                        self.line.clear();
                        At::Values(0)
                    }
                    // Nothing but the names of columns is this long.
                    false if self.line.len() > LINE => {
                        self.line.clear();
                        At::Rest
                    }
                    false => At::Columns(false),
                }
            }
            (At::Columns(true), _) => At::Columns(true),
            (At::Values(0), b'(') => {
                if let Some(schema) = self.schema.as_ref().filter(|s| !OWN.contains(&s.as_str())) {
                    *self.rows.entry(format!("{schema}.{}", self.table)).or_default() += 1;
                }
                At::Values(1)
            }
            (At::Values(0), b';') => At::Rest,
            (At::Values(depth), b'(') => At::Values(depth + 1),
            (At::Values(depth), b')') => At::Values(depth.saturating_sub(1)),
            (At::Values(depth), b'\'') => At::Text(depth, false),
            (At::Values(depth), _) => At::Values(depth),
            (At::Text(depth, true), _) => At::Text(depth, false),
            (At::Text(depth, false), b'\\') => At::Text(depth, true),
            // A doubled quote ends the text and begins another.
            (At::Text(depth, false), b'\'') => At::Values(depth),
            (At::Text(depth, false), _) => At::Text(depth, false),
        }
    }

    /// Whether the line has become `INSERT INTO` and a whole name; then that is the table.
    fn inserts(&mut self) -> bool {
        if self.foreign || self.line.last() != Some(&b' ') || self.line.first() != Some(&b'I') {
            return false;
        }
        let Some(rest) = ["INSERT INTO `", "INSERT IGNORE INTO `", "INSERT  IGNORE INTO `"]
            .iter()
            .find_map(|begins| self.line.strip_prefix(begins.as_bytes()))
        else {
            return false;
        };
        match name(rest) {
            Some((table, b" ")) => {
                self.table = table;
                true
            }
            _ => false,
        }
    }

    fn whole_line(&mut self) {
        let line = self.line.as_slice();
        if let Some(delimiter) = line.strip_prefix(b"DELIMITER ") {
            self.foreign = delimiter.trim_ascii() != b";";
        } else if self.foreign {
        } else if let Some((schema, b";")) = line.strip_prefix(b"USE `").and_then(name) {
            self.schema = Some(schema);
        } else if let Some((table, _)) = line.strip_prefix(b"CREATE TABLE `").and_then(name)
            && let Some(schema) = self.schema.as_ref().filter(|s| !OWN.contains(&s.as_str()))
        {
            self.rows.entry(format!("{schema}.{table}")).or_default();
        }
    }
}

/// A name up to the quote that ends it, and what follows.
fn name(text: &[u8]) -> Option<(String, &[u8])> {
    let mut name = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [b'`', b'`', more @ ..] => {
                name.push(b'`');
                rest = more;
            }
            [b'`', more @ ..] => return Some((String::from_utf8_lossy(&name).into_owned(), more)),
            [byte, more @ ..] => {
                name.push(*byte);
                rest = more;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = r"-- MariaDB dump
CREATE DATABASE /*!32312 IF NOT EXISTS*/ `app` /*!40100 DEFAULT CHARACTER SET utf8mb4 */;
USE `app`;
CREATE TABLE `t` (
  `id` int(11) NOT NULL DEFAULT 1
) ENGINE=InnoDB;
INSERT INTO `t` VALUES (1,'a);(',NULL),(2,'it\'s ''x'' \\',0xFF),
(3,'\n(4)',_binary 'b');
INSERT INTO `t` VALUES (4,'','');
CREATE TABLE `empty` (
INSERT INTO `with ``tick` (`VALUES (1)`, `b`) VALUES (1,2),(3,4);
DELIMITER ;;
CREATE TRIGGER x BEGIN
INSERT INTO `t` VALUES (9,9,9);
END ;;
DELIMITER ;
CREATE TABLE `after` (
USE `mysql`;
CREATE TABLE `user` (
INSERT INTO `user` VALUES (1);
-- Dump completed
";

    fn rows(bytes: &[u8], at_once: usize) -> BTreeMap<String, u64> {
        let mut rows = Rows::default();
        bytes.chunks(at_once).for_each(|chunk| rows.feed(chunk));
        rows.counted()
    }

    #[test]
    fn the_rows_of_a_dump_are_counted_wherever_it_is_cut() {
        let expected: BTreeMap<String, u64> = [
            ("app.t", 4),
            ("app.empty", 0),
            ("app.with `tick", 2),
            ("app.after", 0),
        ]
        .map(|(name, rows)| (name.to_owned(), rows))
        .into();
        for at_once in [1, 2, 3, 7, 64, 100_000] {
            assert_eq!(rows(DUMP.as_bytes(), at_once), expected, "{at_once}");
        }
    }

    #[test]
    fn names_come_back_from_hex_and_counts_from_their_places() {
        let tables = tables("617070\t74\n61\t6220 63\n");
        assert_eq!(tables, None);
        let tables = super::tables("617070\t74\n61\t622063\n").unwrap();
        assert_eq!(tables[1], ("a".to_owned(), "b c".to_owned()));
        assert!(count(&tables).ends_with("SELECT 1, COUNT(*) FROM `a`.`b c`;\n"));
        assert_eq!(counted(&tables, "0\t5\n1\t0\n").unwrap()["app.t"], 5);
        assert_eq!(counted(&tables, "0\t5\n"), None, "one is missing");
    }
}
