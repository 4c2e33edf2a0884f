//! PostgreSQL: `pg_dump` and `pg_restore` of the server's own image, and the questions for `psql`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Part, Proof, script, words};
use crate::model::file_name;

/// What tells a PostgreSQL from every other: the system identifier that `initdb` gave it.
/// <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-CONTROL-SYSTEM>
pub const IDENTITY: &str = "SELECT system_identifier FROM pg_control_system()";

/// Lists the databases that can be dumped, one a line.
pub const DATABASES: &str =
    "SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template1' ORDER BY 1";

/// <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>
const NAME_LENGTH: usize = 63;

/// The server's version.
pub const VERSION: &str = "SHOW server_version";

/// The directory of its data (trap 5).
pub const DATA_DIRECTORY: &str = "SHOW data_directory";

/// The names of its roles, as `pg_dumpall` writes them, one a line.
pub const ROLES: &str = "SELECT quote_ident(rolname) FROM pg_roles";

/// What a database was made with, in JSON: the same must be true of a restored one. A collation's version is that of the C
/// library or ICU (trap 6); the function is of version 15.
pub const FACTS: &str = "SELECT json_build_object('encoding', pg_encoding_to_char(encoding), 'collation', datcollate, \
     'ctype', datctype, 'owner', pg_get_userbyid(datdba), 'collation version', \
     (SELECT to_jsonb(d) ->> 'datcollversion')) FROM pg_database d WHERE datname = current_database()";

/// The numbers of the databases by name, in JSON.
pub const NUMBERS: &str = "SELECT json_object_agg(datname, oid::bigint) FROM pg_database";

/// Writes a question for each table that holds rows of its own: neither those of extensions, which their extension makes,
/// nor those of other sessions. Each answers with the number of rows and the table's name in JSON. In `psql`, `\gexec`
/// asks them.
pub const COUNT: &str = r"SELECT format('SELECT count(*) || %L FROM ONLY %I.%I', ' ' || to_json(n.nspname || '.' || c.relname), n.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY n.nspname, c.relname \gexec
";

/// No limit of a role or database ends what takes long.
pub const PATIENT: &str = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout', \
     'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout', 'idle_session_timeout') \\g /dev/null\n";

/// Begins the transaction whose snapshot a dump shares.
/// <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-SNAPSHOT-SYNCHRONIZATION>
pub const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\nSELECT pg_export_snapshot();\n";

/// Asks for [`IDENTITY`].
#[must_use]
pub fn identity_question(user: &str) -> Vec<String> {
    question(user, "postgres", IDENTITY)
}

/// Asks one question.
#[must_use]
pub fn question(user: &str, database: &str, query: &str) -> Vec<String> {
    let mut words = session(user, database);
    words.extend(["-c".to_owned(), query.to_owned()]);
    words
}

/// A `psql` that reads what it shall do, and ends at the first error.
#[must_use]
pub fn session(user: &str, database: &str) -> Vec<String> {
    as_owner(&[
        "psql",
        "-U",
        user,
        "-d",
        &connection(database),
        "-w",
        "-qtAX",
        "-v",
        "ON_ERROR_STOP=1",
    ])
}

/// A `psql` that loads SQL, all of it or nothing.
#[must_use]
pub fn load_sql(user: &str, database: &str) -> Vec<String> {
    let mut words = session(user, database);
    words.extend(["--single-transaction", "-o", "/dev/null", "-f", "-"].map(str::to_owned));
    words
}

/// The file that holds a PostgreSQL's roles and tablespaces.
/// <https://www.postgresql.org/docs/current/app-pg-dumpall.html>
#[must_use]
pub fn globals(user: &str) -> Part {
    Part {
        file: "globals.sql".to_owned(),
        database: None,
        write: as_owner(&["pg_dumpall", "-U", user, "-w", "--globals-only"]),
        proof: Proof::EndsWith("-- PostgreSQL database cluster dump complete"),
    }
}

/// The file that holds one database of a PostgreSQL. It is read to its end by `pg_restore`, without a database.
/// <https://www.postgresql.org/docs/current/app-pgdump.html>
#[must_use]
pub fn database(user: &str, database: &str) -> Part {
    Part {
        file: format!("{}.dump", file_name(database)),
        database: Some(database.to_owned()),
        write: as_owner(&["pg_dump", "-U", user, "-w", "-Fc", "-d", &connection(database)]),
        proof: Proof::ReadBy(words(&["pg_restore", "--file=/dev/null"])),
    }
}

/// Makes room for a database that a dump brings: what the image made under that name goes.
#[must_use]
pub fn make_room(database: &str) -> String {
    let (literal, name) = (quoted(database, '\''), quoted(database, '"'));
    format!(
        "UPDATE pg_database SET datistemplate = false WHERE datname = {literal};\n{}DROP DATABASE IF EXISTS {name};\n",
        leave(&[database])
    )
}

/// Makes an empty database.
#[must_use]
pub fn create(database: &str) -> String {
    format!("CREATE DATABASE {} TEMPLATE template0;\n", quoted(database, '"'))
}

/// What a database is made with; what is not known is the server's own choice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct MadeLike {
    encoding: Option<String>,
    collation: Option<String>,
    ctype: Option<String>,
    owner: Option<String>,
    /// Whose rules sort: `c`, `i` (ICU), `b` (PostgreSQL's own); of version 15.
    provider: Option<String>,
    /// The locale of ICU or of PostgreSQL's own.
    locale: Option<String>,
}

impl MadeLike {
    /// As [`FACTS`] were noted.
    #[must_use]
    pub fn noted(facts: &BTreeMap<String, String>) -> Self {
        let of = |name: &str| facts.get(name).cloned();
        Self {
            encoding: of("encoding"),
            collation: of("collation"),
            ctype: of("ctype"),
            owner: of("owner"),
            provider: None,
            locale: None,
        }
    }

    /// What is not known, as another one has it.
    #[must_use]
    pub fn or(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        Self {
            encoding: self.encoding.or(other.encoding),
            collation: self.collation.or(other.collation),
            ctype: self.ctype.or(other.ctype),
            owner: self.owner.or(other.owner),
            provider: self.provider.or(other.provider),
            locale: self.locale.or(other.locale),
        }
    }
}

/// Asks what a database was made with: a [`MadeLike`] in JSON. The names of columns are of versions 15 to 17.
#[must_use]
pub fn made_like(database: &str) -> String {
    format!(
        "SELECT json_build_object('encoding', pg_encoding_to_char(encoding), 'collation', datcollate, 'ctype', datctype, \
         'owner', pg_get_userbyid(datdba), 'provider', to_jsonb(d) ->> 'datlocprovider', \
         'locale', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')) \
         FROM pg_database d WHERE datname = {}",
        quoted(database, '\'')
    )
}

/// Makes an empty database like another one.
/// <https://www.postgresql.org/docs/current/sql-createdatabase.html>
#[must_use]
pub fn make(database: &str, like: &MadeLike) -> String {
    let mut words = format!("CREATE DATABASE {} TEMPLATE template0", quoted(database, '"'));
    let mut add = |word: &str, value: &Option<String>, quote: char| {
        if let Some(value) = value {
            words.push_str(&format!(" {word} {}", quoted(value, quote)));
        }
    };
    add("ENCODING", &like.encoding, '\'');
    add("LC_COLLATE", &like.collation, '\'');
    add("LC_CTYPE", &like.ctype, '\'');
    add("OWNER", &like.owner, '"');
    match like.provider.as_deref() {
        Some("i") => add("LOCALE_PROVIDER icu ICU_LOCALE", &like.locale, '\''),
        Some("b") => add("LOCALE_PROVIDER builtin BUILTIN_LOCALE", &like.locale, '\''),
        _ => {}
    }
    words.push_str(";\n");
    words
}

/// Gives a database the settings, rights and limits of another one: no dump of a single database has them but as
/// commands for the database's own name.
#[must_use]
pub fn inherit(from: &str, to: &str) -> String {
    let (from, to) = (quoted(from, '\''), quoted(to, '\''));
    format!(
        "BEGIN;\n\
         INSERT INTO pg_db_role_setting SELECT n.oid, s.setrole, s.setconfig FROM pg_db_role_setting s \
         JOIN pg_database o ON o.oid = s.setdatabase AND o.datname = {from}, pg_database n WHERE n.datname = {to};\n\
         UPDATE pg_database n SET datacl = o.datacl, datconnlimit = o.datconnlimit FROM pg_database o \
         WHERE o.datname = {from} AND n.datname = {to};\n\
         COMMIT;\n"
    )
}

/// Has two databases change their names in one transaction; or `other` take `name`, if that is not there.
#[must_use]
pub fn exchange(name: &str, other: &str, there: bool) -> String {
    let aside = quoted("rehome exchanges two databases", '"');
    let rename = |from: &str, to: &str| format!("ALTER DATABASE {from} RENAME TO {to};\n");
    let (one, two) = (quoted(name, '"'), quoted(other, '"'));
    let renames = match there {
        true => [rename(&one, &aside), rename(&two, &one), rename(&aside, &two)].concat(),
        false => rename(&two, &one),
    };
    format!("{}BEGIN;\n{renames}COMMIT;\n", leave(&[name, other]))
}

/// Ends every connection to these databases.
fn leave(databases: &[&str]) -> String {
    let names: Vec<String> = databases.iter().map(|name| quoted(name, '\'')).collect();
    format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ({}) \\g /dev/null\n",
        names.join(", ")
    )
}

/// A name for a database that is kept beside another one: PostgreSQL's names have 63 bytes at most.
#[must_use]
pub fn name_beside(database: &str, suffix: &str) -> String {
    let end = format!("_before_{suffix}");
    let mut room = (NAME_LENGTH - end.len()).min(database.len());
    while !database.is_char_boundary(room) {
        room -= 1;
    }
    format!("{}{end}", &database[..room])
}

/// Makes a database of a dump again, with its encoding, collation, owner and settings, and all that is in it. It connects
/// to `template1`, which is never dumped, so that `postgres` can be replaced like any other. To stop at the first error is
/// all that can be had: a database cannot be made inside of a transaction.
#[must_use]
pub fn load(user: &str) -> Vec<String> {
    as_owner(&[
        "pg_restore",
        "-U",
        user,
        "-w",
        "--exit-on-error",
        "--create",
        "-d",
        "template1",
    ])
}

/// Loads somebody else's dump into a database that is there, all of it or nothing.
#[must_use]
pub fn load_into(user: &str, database: &str, format: &str) -> Vec<String> {
    as_owner(&[
        "pg_restore",
        "-U",
        user,
        "-w",
        format,
        "--exit-on-error",
        "--single-transaction",
        "-d",
        &connection(database),
    ])
}

/// Whether the server answers, over TCP: while an image makes the database, its server can only be reached locally.
#[must_use]
pub fn is_ready(user: &str) -> Vec<String> {
    words(&[
        "pg_isready",
        "-q",
        "-h",
        "127.0.0.1",
        "-U",
        user,
        "-d",
        "template1",
    ])
}

/// Checks the tables and indexes of a database by what is in them; exit code 127 where the program is not there.
/// <https://www.postgresql.org/docs/current/app-pgamcheck.html>
#[must_use]
pub fn amcheck(user: &str, database: &str) -> Vec<String> {
    as_owner(&[
        "pg_amcheck",
        "-U",
        user,
        "-w",
        "--install-missing",
        &connection(database),
    ])
}

/// Ends what of a dump is still at work in the server when nobody takes its output any more.
#[must_use]
pub fn end_all_of(application: &str) -> String {
    format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = {} AND pid <> pg_backend_pid()",
        quoted(application, '\'')
    )
}

/// Logs in with the password that the container's own environment has, or names a file for, where one is asked for. It
/// goes to the client through the environment, made here, inside the container.
fn as_owner(words: &[&str]) -> Vec<String> {
    let login = r#"if [ -n "${POSTGRES_PASSWORD-}" ]; then PGPASSWORD=$POSTGRES_PASSWORD
elif [ -n "${POSTGRES_PASSWORD_FILE-}" ]; then PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") || exit 1; fi
export PGPASSWORD
exec "$@""#;
    script(login, words)
}

/// A connection string: a name with `=` in it would be taken for one.
/// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE>
fn connection(database: &str) -> String {
    let escaped = database.replace('\\', "\\\\").replace('\'', "\\'");
    format!("dbname='{escaped}'")
}

fn quoted(text: &str, quote: char) -> String {
    let doubled = text.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{doubled}{quote}")
}

/// Takes out of a file of roles the lines that make a role which is there already: everything else in it has to work.
#[derive(Debug)]
pub struct Roles {
    there: Vec<String>,
}

impl Roles {
    /// The answer to [`ROLES`].
    #[must_use]
    pub fn there(answer: &str) -> Self {
        let made = |name: &str| {
            let bare = name.trim_matches('"');
            [format!("CREATE ROLE {name};"), format!("CREATE ROLE \"{bare}\";")]
        };
        Self {
            there: answer.lines().flat_map(made).collect(),
        }
    }

    /// Whether a line of the file is to be loaded.
    #[must_use]
    pub fn wants(&self, line: &str) -> bool {
        !self.there.iter().any(|there| there == line.trim_end())
    }
}

/// Reads the lines of [`COUNT`].
#[must_use]
pub fn counted(lines: &[String]) -> Option<BTreeMap<String, u64>> {
    let one = |line: &String| {
        let (rows, table) = line.split_once(' ')?;
        Some((serde_json::from_str::<String>(table).ok()?, rows.parse().ok()?))
    };
    lines.iter().filter(|line| !line.is_empty()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_database_cannot_leave_its_directory() {
        assert_eq!(database("u", "kms_connect-1").file, "kms_connect-1.dump");
        assert_eq!(
            database("u", "../../etc/x").file,
            "%2e%2e%2f%2e%2e%2fetc%2fx.dump"
        );
    }

    #[test]
    fn a_name_is_quoted_for_where_it_goes() {
        assert_eq!(connection(r"a'b\c=d"), r"dbname='a\'b\\c=d'");
        assert!(make_room("a\"b'c").contains("DROP DATABASE IF EXISTS \"a\"\"b'c\";"));
        assert!(make_room("a\"b'c").contains("datname = 'a\"b''c';"));
    }

    #[test]
    fn a_name_beside_a_long_one_has_room_for_its_end() {
        assert_eq!(name_beside("app", "1a2b"), "app_before_1a2b");
        let long = name_beside(&"é".repeat(31), "1a2b");
        assert_eq!(long.len(), 62, "{long}");
        assert!(long.ends_with("é_before_1a2b"), "{long}");
    }

    #[test]
    fn a_database_is_made_as_it_was_and_as_the_present_one_where_that_is_not_known() {
        let noted = MadeLike::noted(&BTreeMap::from([("owner".to_owned(), "o\"x".to_owned())]));
        let now: MadeLike = serde_json::from_str(
            r#"{"encoding":"UTF8","collation":"C","ctype":"C","owner":"app","provider":"i","locale":"de"}"#,
        )
        .unwrap();
        assert_eq!(
            make("a", &noted.or(Some(now))),
            "CREATE DATABASE \"a\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' OWNER \"o\"\"x\" \
             LOCALE_PROVIDER icu ICU_LOCALE 'de';\n"
        );
    }

    #[test]
    fn only_a_role_that_is_there_is_left_out() {
        let roles = Roles::there("app\n\"With Space\"\n");
        assert!(!roles.wants("CREATE ROLE app;\n"));
        assert!(!roles.wants("CREATE ROLE \"app\";"));
        assert!(!roles.wants("CREATE ROLE \"With Space\";"));
        assert!(roles.wants("CREATE ROLE apple;"));
        assert!(roles.wants("ALTER ROLE app WITH SUPERUSER;"));
    }

    #[test]
    fn rows_are_read_with_whatever_name_a_table_has() {
        let lines = ["12 \"public.t\"", "0 \"a.b \\\"c\\\"\\nd\"", ""].map(str::to_owned);
        let rows = counted(&lines).unwrap();
        assert_eq!((rows["public.t"], rows["a.b \"c\"\nd"]), (12, 0));
        assert_eq!(counted(&["ERROR".to_owned()]), None);
    }
}
