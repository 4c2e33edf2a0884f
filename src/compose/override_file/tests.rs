//! The generated override, word for word, and read back.

use super::*;

const TEXT: &str = "\
# Written by rehome 0.1.0 for project kms-connect. Do not edit: rehome override --write
volumes:
  postgres_data: !override
    name: kms-connect_postgres_data_block_5f3a
    driver: local
    driver_opts: { type: none, o: bind, device: /mnt/kms-data/postgres }
";

fn project() -> ProjectName {
    ProjectName::new("kms-connect").unwrap()
}

fn key(name: &str) -> VolumeKey {
    VolumeKey::new(name).unwrap()
}

fn definition(name: &str, device: Option<&str>) -> Definition {
    let name = VolumeName::new(name).unwrap();
    Definition {
        name,
        device: device.map(PathBuf::from),
        labels: BTreeMap::new(),
    }
}

fn designed() -> Override {
    let entry = definition(
        "kms-connect_postgres_data_block_5f3a",
        Some("/mnt/kms-data/postgres"),
    );
    Override {
        volumes: [(key("postgres_data"), entry)].into(),
        ..Override::empty(project())
    }
}

#[test]
fn the_example_of_the_design_is_what_is_written_and_read() {
    assert_eq!(designed().render(), TEXT);
    assert_eq!(
        Override::parse(TEXT).unwrap(),
        Found {
            content: designed(),
            edited: false
        }
    );
    assert_eq!(
        designed().device(&key("postgres_data")),
        Some(Path::new("/mnt/kms-data/postgres"))
    );
}

#[test]
fn an_older_version_wrote_the_same_and_a_hand_shows() {
    assert!(!Override::parse(&TEXT.replace("0.1.0", "0.0.9")).unwrap().edited);
    assert!(Override::parse(&TEXT.replace("5f3a", "5f3b")).is_ok_and(|found| !found.edited));
    assert!(
        Override::parse(&TEXT.replace("local\n", "local # really\n"))
            .unwrap()
            .edited
    );
    for (from, to) in [
        ("driver: local", "driver: nfs"),
        ("o: bind", "o: rbind"),
        ("volumes:", "volumes: ["),
        ("    name", "    nam"),
    ] {
        let failure = Override::parse(&TEXT.replace(from, to)).unwrap_err();
        assert_eq!(
            failure.what, "the file was written by Rehome, but cannot be understood any more",
            "{to}"
        );
    }
}

#[test]
fn a_file_of_somebody_else_or_another_project_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("o.yml");
    assert_eq!(Override::read(&path, &project()).unwrap(), None);
    std::fs::write(&path, "volumes:\n  a: {}\n").unwrap();
    let failure = Override::read(&path, &project()).unwrap_err();
    assert_eq!(
        failure.what,
        format!("{} cannot be used as the override", path.display())
    );
    assert_eq!(failure.causes[0], "the file was not written by Rehome");
    designed().write(&path).unwrap();
    let failure = Override::read(&path, &ProjectName::new("other").unwrap()).unwrap_err();
    assert_eq!(failure.causes, ["it was written for kms-connect, this is other"]);
}

#[test]
fn the_newer_one_wins_key_by_key_whatever_the_style() {
    let mount = BindMount {
        service: ServiceName::new("api").unwrap(),
        target: "/m".to_owned(),
        source: "/mnt/d/media".into(),
        read_only: false,
        selinux: None,
    };
    let bound = Bound {
        device: "/mnt/d/media".into(),
        mounts: vec![mount],
    };
    let bind = Override {
        binds: [(key("media"), bound)].into(),
        ..Override::empty(project())
    };
    let both = bind.clone().over(&designed());
    assert_eq!(both.keys(), [&key("media"), &key("postgres_data")].into());
    assert_eq!(Override::parse(&both.render()).unwrap().content, both);

    let back = definition("kms-connect_media_volume_0001", None);
    let back = Override {
        volumes: [(key("media"), back)].into(),
        ..Override::empty(project())
    };
    let both = back.over(&both);
    assert!(both.binds.is_empty() && both.volumes.len() == 2);
    assert_eq!(both.device(&key("media")), None);
    let none = both.without(&key("media")).without(&key("postgres_data"));
    assert!(none.is_empty());
    assert_eq!(Override::parse(&none.render()).unwrap().content, none);
}
