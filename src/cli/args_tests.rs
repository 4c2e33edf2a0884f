//! The command line as people type it.

use clap::CommandFactory;
use clap::error::ErrorKind;

use std::time::Duration;

use super::*;
use crate::model::{ByteSize, Owner};
use crate::plan::Destination;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::read(line.split_whitespace())
}

fn moved(line: &str) -> Move {
    match parse(line).unwrap().command {
        Command::Move(args) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn global_options_stand_before_and_after_the_command() {
    for line in [
        "rehome -f a.yml -f b.yml --json -p kms status",
        "rehome status -f a.yml -f b.yml --json -p kms",
        "rehome -p kms config show --json -f a.yml -f b.yml",
    ] {
        let global = parse(line).unwrap().global;
        assert_eq!(
            global.files,
            [PathBuf::from("a.yml"), PathBuf::from("b.yml")],
            "{line}"
        );
        assert!(global.json, "{line}");
        assert_eq!(global.project_name.as_deref(), Some("kms"), "{line}");
        assert_eq!(global.color, ColorWhen::Auto);
    }
    assert_eq!(parse("rehome -vv status").unwrap().global.verbose, 2);
    assert_eq!(
        parse("rehome status -q -v").unwrap_err().kind(),
        ErrorKind::ArgumentConflict
    );
}

#[test]
fn a_move_is_read_in_full() {
    let args = moved(
        "rehome move --to /mnt/kms-data --only postgres_data,media_volume --only x --exclude redis_data \
         --map media_volume=up/loads --owner media_volume=1000:1000 --offline --no-hooks --stop-timeout 10m \
         --max-downtime 90s --bandwidth 50MB/s --without-data x --dry-run \
         --verify full --block-delta off --jobs 4",
    );
    assert_eq!(args.to, Some(Destination::Block("/mnt/kms-data".into())));
    assert_eq!(args.only.len(), 3);
    assert_eq!(args.maps[0].value.as_str(), "up/loads");
    assert_eq!(args.owners[0].volume.as_str(), "media_volume");
    assert_eq!(args.owners[0].value, Owner { uid: 1000, gid: 1000 });
    assert_eq!(args.stop_timeout, Some(Duration::from_secs(600)));
    assert_eq!(args.bandwidth, Some(ByteSize(50_000_000)));
    assert_eq!(
        (args.verify, args.block_delta, args.jobs),
        (Verification::Full, BlockDelta::Off, Threads(4))
    );
    assert_eq!(moved("rehome move").jobs, Threads(0));
    assert!(args.offline && args.no_hooks && args.dry_run);
    assert_eq!(moved("rehome move --to volumes").to, Some(Destination::Volumes));
    assert_eq!(moved("rehome move").to, None);
}

#[test]
fn what_cannot_be_meant_is_refused_in_words() {
    for (line, words) in [
        ("rehome move --to volume", "or `volumes` for Docker's own"),
        ("rehome move --map media_volume", "write it as VOLUME=VALUE"),
        ("rehome move --map media_volume=../x", "is no directory below"),
        ("rehome move --owner media_volume=www", "write it as UID:GID"),
        ("rehome move --bandwidth 0", "would never end"),
        ("rehome move --jobs 0", "a number from 1 to 16, or auto"),
        ("rehome move --verify maybe", "readback"),
        ("rehome override --to mnt", "absolute"),
        ("rehome show ../x", "lower-case letters and digits"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(words), "{line}: {error}");
    }
}

#[test]
fn compose_is_handed_everything_that_is_its_own() {
    for (line, wanted, loss) in [
        ("rehome compose -- down -v", "down -v", false),
        (
            "rehome compose down -v --allow-data-loss",
            "down -v --allow-data-loss",
            false,
        ),
        ("rehome compose --allow-data-loss -- down -v", "down -v", true),
        ("rehome compose exec db -- ls -q", "exec db -- ls -q", false),
        ("rehome compose -- exec db -- ls", "exec db -- ls", false),
    ] {
        let Command::Compose(args) = parse(line).unwrap().command else {
            panic!("{line}")
        };
        let text: Vec<_> = args.args.iter().map(|a| a.to_string_lossy()).collect();
        assert_eq!(text.join(" "), wanted, "{line}");
        assert_eq!(args.loss.allow_data_loss, loss, "{line}");
    }
    assert!(parse("rehome compose").is_err());
}

#[test]
fn what_follows_the_word_of_a_pass_is_composes_as_it_is() {
    for (line, wanted) in [
        ("rehome up", ""),
        ("rehome up -d --build api", "-d --build api"),
        ("rehome down -v", "-v"),
        ("rehome logs -f --tail 20 api", "-f --tail 20 api"),
        ("rehome ps -q --format json", "-q --format json"),
        ("rehome ps --json", "--json"),
        ("rehome exec -T db psql -c x", "-T db psql -c x"),
        ("rehome exec db -- ls -- -q", "db -- ls -- -q"),
        ("rehome exec -- -T db ls", "-T db ls"),
        ("rehome -p kms --file=a.yml -f b.yml logs -f", "-f"),
        ("rehome -vp up logs up -p", "up -p"),
        ("rehome -pup logs -p x", "-p x"),
        ("rehome --color never up --color always", "--color always"),
        ("rehome down --allow-data-loss -v", "-v"),
        ("rehome down -v --allow-data-loss", "-v --allow-data-loss"),
    ] {
        let cli = parse(line).unwrap();
        let (Command::Up(args)
        | Command::Down(args)
        | Command::Ps(args)
        | Command::Logs(args)
        | Command::Exec(args)) = cli.command
        else {
            panic!("{line}")
        };
        let text: Vec<_> = args.args.iter().map(|a| a.to_string_lossy()).collect();
        assert_eq!(text.join(" "), wanted, "{line}");
        assert_eq!(args.loss.allow_data_loss, line.contains("down --allow"), "{line}");
        assert!(!cli.global.json, "{line}");
    }
    for line in ["rehome up --help", "rehome logs -h"] {
        assert_eq!(parse(line).unwrap_err().kind(), ErrorKind::DisplayHelp, "{line}");
    }
    assert!(
        parse("rehome down --no-backup -v").is_err(),
        "on top of --allow-data-loss only"
    );
    // Where the words are something else, they stay that.
    assert!(
        parse("rehome move --to volumes --only up -q")
            .unwrap()
            .global
            .quiet
    );
}

#[test]
fn the_helper_is_hidden_and_the_move_has_examples() {
    let help = Cli::command().render_long_help().to_string();
    assert!(!help.contains("helper"), "{help}");
    let help = Cli::command()
        .find_subcommand_mut("move")
        .unwrap()
        .render_long_help()
        .to_string();
    assert!(help.contains("rehome move --to volumes"), "{help}");
}

#[test]
fn a_move_that_contradicts_itself_is_refused() {
    for (line, words) in [
        ("rehome move --map a=x --map a=y", "--map names volume `a` twice"),
        (
            "rehome move --owner a=1:1,a=2:2",
            "--owner names volume `a` twice",
        ),
        (
            "rehome move --only a --exclude b,a",
            "volume `a` is asked for with --only and left out",
        ),
        (
            "rehome move --to volumes --map a=x",
            "--map a=x has no meaning with --to volumes",
        ),
        (
            "rehome move --exclude a --owner a=1:1",
            "--owner names volume `a`, which is left out",
        ),
        (
            "rehome move --only b --without-data a",
            "--without-data names volume `a`, which is left out",
        ),
        ("rehome move --to /", "root disk itself"),
        ("rehome override --to /mnt/../etc", "goes up"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(words), "{line}: {error}");
    }
    assert!(parse("rehome move --only a --only a --map a=x --without-data a").is_ok());
}

#[test]
fn a_usage_error_is_a_whole_failure() {
    for (line, what, hint) in [
        (
            "rehome mvoe",
            "unrecognized subcommand 'mvoe'",
            Some("a similar subcommand exists: 'move'"),
        ),
        (
            "rehome show",
            "the following required arguments were not provided: <RUN>",
            None,
        ),
        ("rehome", "no command is given", Some("rehome --help")),
        (
            "rehome move --max-downtime",
            "a value is required for '--max-downtime <DURATION>' but none was supplied",
            None,
        ),
    ] {
        let failure = usage_failure(&parse(line).unwrap_err());
        assert_eq!(failure.what, what);
        assert_eq!(failure.hints.first().map(String::as_str), hint, "{line}");
    }
}

fn backed_up(line: &str) -> BackupCommand {
    match parse(line).unwrap().command {
        Command::Backup(args) => args.command,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_backup_is_asked_for_in_full() {
    let BackupCommand::Create(args) = backed_up(
        "rehome backup create --only db,media --exclude x --consistency pause --to s3://bucket/kms --to sub \
         --pin --metrics m.prom --dry-run",
    ) else {
        panic!("no create")
    };
    assert_eq!((args.only.len(), args.exclude.len(), args.to.len()), (2, 1, 2));
    assert_eq!(args.consistency, Some(Quiet::Pause));
    assert!(args.pin && args.dry_run);
    let BackupCommand::Freeze(args) = backed_up("rehome backup freeze --limit 5s -- aws --json x") else {
        panic!("no freeze")
    };
    assert_eq!(args.limit, Duration::from_secs(5));
    assert_eq!(args.command, ["aws", "--json", "x"]);
    let BackupCommand::Restore(args) =
        backed_up("rehome backup restore --latest --from s3://bucket --only v --no-safety-backup")
    else {
        panic!("no restore")
    };
    assert!(args.which.latest && args.which.id.is_none() && args.from.is_some());
    for line in [
        "rehome backup",
        "rehome backup restore 20261122T020000Z-7k2f9a --latest",
        "rehome backup pin yesterday",
        "rehome backup freeze",
        "rehome backup schedule --at 02:00 --remove",
        "rehome backup schedule --at now;reboot",
        "rehome backup create --to https://bucket",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn a_site_is_a_project_or_an_image() {
    for (line, kind) in [
        ("rehome site add blog", ErrorKind::MissingRequiredArgument),
        (
            "rehome site add blog --image x",
            ErrorKind::MissingRequiredArgument,
        ),
        (
            "rehome site add blog --port 80",
            ErrorKind::MissingRequiredArgument,
        ),
        (
            "rehome site add blog --project . --image x --port 80",
            ErrorKind::ArgumentConflict,
        ),
        (
            "rehome site add blog --image x --port 80 --service web",
            ErrorKind::ArgumentConflict,
        ),
        (
            "rehome site add blog --project . --port 80",
            ErrorKind::ArgumentConflict,
        ),
        (
            "rehome site add blog --project . --health /",
            ErrorKind::ArgumentConflict,
        ),
        ("rehome site add ../x --project .", ErrorKind::ValueValidation),
        ("rehome site add Blog --project .", ErrorKind::ValueValidation),
        ("rehome site show ..", ErrorKind::ValueValidation),
        (
            "rehome site remove blog --typed blog",
            ErrorKind::MissingRequiredArgument,
        ),
        ("rehome site", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
    ] {
        assert_eq!(
            parse(line).map_err(|error| error.kind()).err(),
            Some(kind),
            "{line}"
        );
    }
    for line in [
        "rehome site add blog --project . --service web",
        "rehome site add blog --image x --port 8080:80 --health /ok",
        "rehome site remove blog --delete-data --typed blog",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}
