//! The programs that destroy data, and those that start other programs: two tables, and what does not fit into one.

use super::{Danger, Fed, base_name, is_on, sql};

/// A command that destroys data.
struct Rule {
    programs: &'static [&'static str],
    /// What it is told.
    says: Says,
    what: &'static str,
}

/// Where a program is told what to do.
enum Says {
    /// These words, first.
    First(&'static [&'static str]),
    /// One of these words, anywhere; with a colon and more behind it as well (`db:drop:all`).
    Task(&'static [&'static str]),
}

const EMPTIED: &str = "empties every table of the database";
const DROPPED: &str = "drops the database, with everything in it";
const TABLES: &str = "drops every table, and makes them anew without their rows";

const RULES: &[Rule] = &[
    Rule {
        programs: &["manage.py", "django-admin", "django"],
        says: Says::First(&["flush"]),
        what: EMPTIED,
    },
    Rule {
        programs: &["manage.py", "django-admin", "django"],
        says: Says::Task(&["reset_db", "reset_schema"]),
        what: DROPPED,
    },
    Rule {
        programs: &["prisma"],
        says: Says::First(&["migrate", "reset"]),
        what: TABLES,
    },
    Rule {
        programs: &["rails", "rake"],
        says: Says::Task(&["db:drop"]),
        what: DROPPED,
    },
    Rule {
        programs: &["rails", "rake"],
        says: Says::Task(&[
            "db:reset",
            "db:setup",
            "db:schema:load",
            "db:structure:load",
            "db:migrate:reset",
            "db:purge",
            "db:truncate_all",
        ]),
        what: TABLES,
    },
    Rule {
        programs: &["artisan", "sail"],
        says: Says::Task(&["migrate:fresh", "migrate:refresh", "migrate:reset", "db:wipe"]),
        what: TABLES,
    },
    Rule {
        programs: &["alembic"],
        says: Says::First(&["downgrade", "base"]),
        what: "takes every migration back, which drops the tables",
    },
    Rule {
        programs: &["flask"],
        says: Says::First(&["db", "downgrade", "base"]),
        what: "takes every migration back, which drops the tables",
    },
    Rule {
        programs: &["console"],
        says: Says::Task(&["doctrine:database:drop", "doctrine:schema:drop"]),
        what: DROPPED,
    },
    Rule {
        programs: &["sequelize", "sequelize-cli"],
        says: Says::Task(&["db:drop", "db:migrate:undo:all"]),
        what: DROPPED,
    },
    Rule {
        programs: &["typeorm"],
        says: Says::Task(&["schema:drop"]),
        what: DROPPED,
    },
    Rule {
        programs: &["mix"],
        says: Says::Task(&["ecto.drop", "ecto.reset"]),
        what: DROPPED,
    },
    Rule {
        programs: &["flyway"],
        says: Says::Task(&["clean"]),
        what: DROPPED,
    },
    Rule {
        programs: &["liquibase"],
        says: Says::Task(&["drop-all", "dropAll"]),
        what: DROPPED,
    },
    Rule {
        programs: &["wp"],
        says: Says::First(&["db", "reset"]),
        what: DROPPED,
    },
    Rule {
        programs: &["wp"],
        says: Says::First(&["db", "drop"]),
        what: DROPPED,
    },
    Rule {
        programs: &["wp"],
        says: Says::First(&["db", "clean"]),
        what: DROPPED,
    },
    Rule {
        programs: &["mysqladmin", "mariadb-admin"],
        says: Says::Task(&["drop"]),
        what: DROPPED,
    },
    // One numbered database of it (`FLUSHDB`) is what a cache usually has; this is all of the server.
    Rule {
        programs: &["redis-cli", "valkey-cli"],
        says: Says::Task(&["flushall", "FLUSHALL"]),
        what: "empties the whole server",
    },
];

/// They take SQL as an argument or on stdin.
const SQL_CLIENTS: [&str; 6] = ["psql", "mysql", "mariadb", "sqlite3", "cockroach", "cqlsh"];

/// They only print, search, or keep words.
const HARMLESS: [&str; 15] = [
    "echo", "printf", "grep", "egrep", "fgrep", "rg", "cat", "less", "more", "head", "tail", "git", "logger",
    "test", "[",
];

/// Looks at a program and its arguments.
pub(super) fn danger(program: &str, arguments: &[String], fed: &Fed) -> Option<Danger> {
    if HARMLESS.contains(&program) {
        return None;
    }
    // Words that nothing else means, whoever is told them.
    for (option, what) in [
        (
            "--accept-data-loss",
            "drops columns and tables that the new schema does not have",
        ),
        ("--force-reset", TABLES),
    ] {
        if arguments.iter().any(|a| is_on(a, option)) {
            return Some(Danger::new(format!("{program} {option}"), what));
        }
    }
    let rule = RULES.iter().find_map(|rule| {
        let words = rule
            .programs
            .contains(&program)
            .then(|| rule.says.hit(arguments))??;
        Some(Danger::new(format!("{program} {words}"), rule.what))
    });
    rule.or_else(|| special(program, arguments, fed))
}

impl Says {
    fn hit(&self, arguments: &[String]) -> Option<String> {
        match self {
            Self::First(words) => {
                let told: Vec<&str> = arguments
                    .iter()
                    .map(String::as_str)
                    .filter(|a| !a.starts_with('-'))
                    .collect();
                // Before the first word may be an option with its value.
                let optional = arguments.first().is_some_and(|a| a.starts_with('-'));
                let later = optional && told.get(1..).is_some_and(|told| told.starts_with(words));
                (told.starts_with(words) || later).then(|| words.join(" "))
            }
            Self::Task(words) => arguments.iter().find_map(|argument| {
                let is = |word: &&&str| {
                    argument
                        .strip_prefix(**word)
                        .is_some_and(|more| more.is_empty() || more.starts_with(':'))
                };
                words.iter().find(is).map(|_| argument.clone())
            }),
        }
    }
}

fn special(program: &str, arguments: &[String], fed: &Fed) -> Option<Danger> {
    let says = |word: &str| arguments.iter().any(|a| a == word);
    match program {
        "dropdb" if !says("--help") && !says("--version") => Some(Danger::new("dropdb", DROPPED)),
        "manage.py" | "django-admin" | "django" => {
            let first = |word: &'static [&'static str]| Says::First(word).hit(arguments).is_some();
            if fed.piped_on && first(&["sqlflush"]) {
                return Some(Danger::new("sqlflush |", EMPTIED));
            }
            if first(&["migrate"]) && arguments.last().is_some_and(|a| a == "zero") {
                return Some(Danger::new(
                    format!("{program} migrate … zero"),
                    "takes every migration of an application back, which drops its tables",
                ));
            }
            let shell = first(&["dbshell"]);
            shell.then(|| in_sql(program, arguments, fed))?
        }
        "mongo" | "mongosh" => {
            let texts = arguments.iter().chain(&fed.stdin);
            let mut dropping = texts.filter(|text| text.contains("dropDatabase("));
            dropping
                .next()
                .map(|_| Danger::new(format!("{program} dropDatabase()"), DROPPED))
        }
        "prisma" if says("execute") => in_sql(program, arguments, fed),
        _ if SQL_CLIENTS.contains(&program) => in_sql(program, arguments, fed),
        _ => None,
    }
}

fn in_sql(program: &str, arguments: &[String], fed: &Fed) -> Option<Danger> {
    let texts = arguments.iter().map(|argument| {
        let behind = argument
            .strip_prefix("--")
            .and_then(|option| option.split_once('='))
            .map(|(_, value)| value);
        // `-e"DROP …"`
        let attached = ["-e", "-c"].iter().find_map(|short| argument.strip_prefix(short));
        behind.or(attached).unwrap_or(argument)
    });
    let found = texts.chain(fed.stdin.as_deref()).find_map(sql::danger)?;
    Some(Danger::new(format!("{program}: {}", found.words), found.what))
}

/// What a program runs that runs others.
pub(super) enum Inner {
    /// Another command.
    Command(Vec<String>),
    /// A script.
    Script(String),
    /// The script that it reads.
    Stdin,
}

/// A program that runs the command behind its own arguments.
struct Launcher {
    programs: &'static [&'static str],
    /// The options that take a value.
    values: &'static [&'static str],
    /// The words before the command: a user, a duration.
    words: usize,
    /// Words of its own that come before the command, each only if it is there: `exec`, `run`.
    own: &'static [&'static str],
}

const LAUNCHERS: &[Launcher] = &[
    launcher(
        &[
            "nohup",
            "setsid",
            "time",
            "command",
            "builtin",
            "stdbuf",
            "catchsegv",
            "tini",
            "dumb-init",
        ],
        &[],
        0,
        &[],
    ),
    launcher(&["exec"], &["-a"], 0, &[]),
    launcher(
        &["sudo", "doas"],
        &[
            "-u", "--user", "-g", "--group", "-h", "--host", "-p", "-C", "-D", "-R", "-T", "-U",
        ],
        0,
        &[],
    ),
    launcher(
        &["runuser", "setpriv"],
        &["-u", "--user", "-g", "--group", "--reuid", "--regid"],
        0,
        &[],
    ),
    launcher(&["env"], &["-u", "--unset", "-C", "--chdir"], 0, &[]),
    launcher(&["nice"], &["-n", "--adjustment"], 0, &[]),
    launcher(&["ionice"], &["-c", "-n", "--class", "--classdata"], 0, &[]),
    launcher(&["timeout"], &["-k", "--kill-after", "-s", "--signal"], 1, &[]),
    launcher(&["gosu", "su-exec", "chroot", "setuser"], &[], 1, &[]),
    launcher(&["flock"], &["-w", "--timeout", "-E"], 1, &[]),
    launcher(
        &["xargs"],
        &["-a", "-d", "-E", "-I", "-L", "-n", "-P", "-s"],
        0,
        &[],
    ),
    launcher(&["npx", "bunx", "pnpx"], &["-p", "--package"], 0, &[]),
    launcher(
        &["npm", "pnpm", "yarn", "bun"],
        &["--filter", "-F", "-C", "--dir", "--prefix", "--cwd"],
        0,
        &["exec", "dlx", "run", "x"],
    ),
    launcher(&["bundle", "bundler"], &[], 0, &["exec"]),
    launcher(
        &["poetry", "uv", "pipenv", "hatch", "pdm", "rye"],
        &[
            "--directory",
            "--project",
            "--extra",
            "--group",
            "--env-file",
            "--with",
        ],
        0,
        &["run"],
    ),
    launcher(&["python", "python2", "python3", "pypy3"], &["-W", "-X"], 0, &[]),
    launcher(
        &["php", "ruby", "node", "perl"],
        &["-d", "-r", "-I", "--require"],
        0,
        &[],
    ),
];

const fn launcher(
    programs: &'static [&'static str],
    values: &'static [&'static str],
    words: usize,
    own: &'static [&'static str],
) -> Launcher {
    Launcher {
        programs,
        values,
        words,
        own,
    }
}

/// What a program runs, if it is there to run others.
pub(super) fn launched(program: &str, arguments: &[String]) -> Option<Inner> {
    match program {
        "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" => Some(shell(arguments)),
        "busybox" => Some(Inner::Command(arguments.to_vec())),
        "eval" => Some(Inner::Script(arguments.join(" "))),
        "ssh" => Some(ssh(arguments)),
        "su" => {
            let script = arguments
                .windows(2)
                .find(|pair| pair[0] == "-c" || pair[0] == "--command")
                .map(|pair| pair[1].clone());
            Some(script.map_or(Inner::Stdin, Inner::Script))
        }
        _ => {
            // `python3.12`
            let program = match program.strip_prefix("python3.") {
                Some(_) => "python3",
                None => program,
            };
            let launcher = LAUNCHERS.iter().find(|l| l.programs.contains(&program))?;
            Some(Inner::Command(launcher.behind(arguments)))
        }
    }
}

impl Launcher {
    fn behind(&self, arguments: &[String]) -> Vec<String> {
        let (mut at, mut words) = (0, self.words);
        while let Some(word) = arguments.get(at) {
            let own = self.own.contains(&word.as_str());
            // `python -m alembic`: the module's name is the program's.
            if word == "-m" || word == "--" || own {
                at += 1;
            } else if word.starts_with('-') {
                at += 1 + usize::from(self.values.contains(&word.as_str()));
            } else if words > 0 {
                words -= 1;
                at += 1;
            } else {
                break;
            }
        }
        arguments.get(at..).unwrap_or_default().to_vec()
    }
}

/// `-c` and its script, also in a bundle (`-lec`); a script in a file is not looked at.
fn shell(arguments: &[String]) -> Inner {
    let mut at = 0;
    while let Some(option) = arguments.get(at).filter(|a| a.starts_with(['-', '+'])) {
        if !option.starts_with("--") && option.contains('c') {
            // Behind `-c` there may be more options: `sh -c -e "…"`.
            let mut rest = arguments[at + 1..]
                .iter()
                .skip_while(|a| a.starts_with('-') && *a != "--");
            return Inner::Script(rest.find(|a| *a != "--").cloned().unwrap_or_default());
        }
        at += 1 + usize::from(option.ends_with('o') || option == "--rcfile");
    }
    match arguments.get(at) {
        // A file: `sh manage.py` is nobody's, but `bash bin/rails …` is the program itself.
        Some(file) => Inner::Command(
            std::iter::once(base_name(file).to_owned())
                .chain(arguments[at + 1..].iter().cloned())
                .collect(),
        ),
        None => Inner::Stdin,
    }
}

/// The words behind the address are a script.
fn ssh(arguments: &[String]) -> Inner {
    let values = [
        "-i", "-p", "-l", "-o", "-F", "-J", "-L", "-R", "-D", "-b", "-c", "-E", "-m", "-S", "-W",
    ];
    let mut at = 0;
    while let Some(option) = arguments.get(at).filter(|a| a.starts_with('-')) {
        at += 1 + usize::from(values.contains(&option.as_str()));
    }
    match arguments.get(at + 1..) {
        Some(rest) if !rest.is_empty() => Inner::Script(rest.join(" ")),
        _ => Inner::Stdin,
    }
}
