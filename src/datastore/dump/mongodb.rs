//! MongoDB: `mongodump` and `mongorestore` of the server's own image, as one archive.

use std::collections::BTreeMap;

use super::{Part, Proof, script};

/// The first bytes of an archive. <https://github.com/mongodb/mongo-tools/blob/master/common/archive/archive.go>
pub const BEGINS: &[u8] = &[0x6d, 0xe2, 0x99, 0x81];
/// What ends every part of it, the last one, too.
const ENDS: &[u8] = &[0xff; 4];

/// Logs in as `$1` with the password that the container's own environment has, or names a file for. The programs read it
/// from a file that only exists as an open pipe.
const LOGIN: &str = r#"u=$1; shift
p=${MONGO_INITDB_ROOT_PASSWORD-}
[ -n "$p" ] || [ -z "${MONGO_INITDB_ROOT_PASSWORD_FILE-}" ] || p=$(cat "$MONGO_INITDB_ROOT_PASSWORD_FILE") || exit 1
q=$(printf %s "$p" | sed "s/'/''/g")
[ -z "$u" ] || set -- --username "$u" --authenticationDatabase admin --config /dev/fd/3 "$@"
"#;

/// The one file of a dump. Each collection is of a moment of its own: one for all takes a replica set's log, and with
/// that a single server could not be dumped.
/// <https://www.mongodb.com/docs/database-tools/mongodump/>
#[must_use]
pub fn all(user: &str) -> Part {
    Part {
        file: "all.archive".to_owned(),
        database: None,
        write: called("mongodump", user, &["--archive"]),
        proof: Proof::Framed {
            begins: BEGINS,
            ends: ENDS,
        },
    }
}

/// Loads an archive, and stops at the first error. <https://www.mongodb.com/docs/database-tools/mongorestore/>
#[must_use]
pub fn load(user: &str) -> Vec<String> {
    called("mongorestore", user, &["--archive", "--drop", "--stopOnError"])
}

fn called(program: &str, user: &str, options: &[&str]) -> Vec<String> {
    let text = format!("{LOGIN}exec {program} \"$@\" 3<<EOF\npassword: '$q'\nEOF\n");
    let mut words = vec![user];
    words.extend(options);
    script(&text, &words)
}

/// Asks the server's own shell something. It has the password in its environment, made inside the container.
fn asked(user: &str, question: &str) -> Vec<String> {
    let text = r#"u=$1 p=${MONGO_INITDB_ROOT_PASSWORD-}
[ -n "$p" ] || [ -z "${MONGO_INITDB_ROOT_PASSWORD_FILE-}" ] || p=$(cat "$MONGO_INITDB_ROOT_PASSWORD_FILE") || exit 1
case $(cat /proc/1/comm) in docker-entrypoi*) echo 'the image makes its database' >&2; exit 1 ;; esac
REHOME_USER=$u REHOME_PASSWORD=$p exec mongosh --quiet --nodb --eval "$2""#;
    let program = format!(
        "const admin = connect('mongodb://127.0.0.1/admin'); \
         if (process.env.REHOME_USER) admin.auth(process.env.REHOME_USER, process.env.REHOME_PASSWORD); {question}"
    );
    script(text, &[user, &program])
}

/// Whether the server answers, and is not the one that the image makes its database with.
#[must_use]
pub fn is_ready(user: &str) -> Vec<String> {
    asked(user, "admin.runCommand({ ping: 1 });")
}

/// The server's version.
#[must_use]
pub fn version(user: &str) -> Vec<String> {
    asked(user, "print(admin.version());")
}

/// How many documents each collection has, but the server's own: a line each, the number and the name.
#[must_use]
pub fn count(user: &str) -> Vec<String> {
    asked(
        user,
        "for (const { name } of admin.adminCommand({ listDatabases: 1 }).databases) { \
         if (['admin', 'config', 'local'].includes(name)) continue; const db = admin.getSiblingDB(name); \
         for (const c of db.getCollectionInfos({ type: 'collection' })) { if (c.name.startsWith('system.')) continue; \
         print(db.getCollection(c.name).countDocuments({}) + ' ' + name + '.' + c.name); } }",
    )
}

/// Reads the answer to [`count`].
#[must_use]
pub fn counted(answer: &str) -> Option<BTreeMap<String, u64>> {
    let one = |line: &str| {
        let (rows, name) = line.split_once(' ')?;
        Some((name.to_owned(), rows.parse().ok()?))
    };
    answer.lines().filter(|line| !line.is_empty()).map(one).collect()
}

/// What `mongodump` says it wrote, by collection: `done dumping app.users (12 documents)`.
#[must_use]
pub fn dumped(said: &str) -> BTreeMap<String, u64> {
    let one = |line: &str| {
        let (_, what) = line.split_once("done dumping ")?;
        let (name, count) = what.rsplit_once(" (")?;
        let own = ["admin.", "config.", "local."]
            .iter()
            .any(|own| name.starts_with(own));
        let rows = count.split(' ').next()?.parse().ok()?;
        (!own && !name.contains(".system.")).then(|| (name.to_owned(), rows))
    };
    said.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_mongodump_are_understood() {
        let said = "2026-11-22T02:00:00.000+0000\twriting app.users to archive on stdout\n\
                    2026-11-22T02:00:00.100+0000\tdone dumping app.users (12 documents)\n\
                    2026-11-22T02:00:00.100+0000\tdone dumping admin.system.version (1 document)\n\
                    2026-11-22T02:00:00.200+0000\tdone dumping app.a (b) (1 document)\n";
        let rows = dumped(said);
        assert_eq!((rows.len(), rows["app.users"], rows["app.a (b)"]), (2, 12, 1));
        assert_eq!(counted("12 app.users\n1 app.a (b)\n").unwrap(), rows);
    }

    #[test]
    fn a_password_is_in_no_argument() {
        let words = all("root").write;
        assert_eq!(words.last().unwrap(), "--archive");
        assert!(!words.iter().any(|word| word.contains("--password")));
    }
}
