//! A view of every page. A suffix goes into every text that could come from outside.

use jiff::Timestamp;
use rehome::event::{Level, Outcome};
use rehome::model::Failure;
use rehome::site::Storage;
use rehome::web::pages::*;

/// What somebody could call a thing to break out of a page.
pub const HOSTILE: &str =
    r#"</title></p><script>alert(1)</script><img src=x onerror=alert(2)>" onfocus="alert(3)" x='&amp;"#;

/// A page: its name, its address, its HTML.
pub struct Page {
    pub name: &'static str,
    pub path: &'static str,
    pub html: String,
}

/// Makes the views.
#[derive(Clone, Copy)]
pub struct Samples(pub &'static str);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl Samples {
    fn t(self, text: &str) -> String {
        format!("{text}{}", self.0)
    }

    fn waiting(self) -> Waiting {
        Waiting {
            run: self.t("20261122-201501-b7e2"),
            title: self.t("move media_volume to /mnt/kms-data"),
            project: self.t("kms-connect"),
            reversible: true,
        }
    }

    fn frame(self) -> Frame {
        Frame {
            user: self.t("ada"),
            csrf: self.t("c5rf"),
            server: self.t("harbour"),
            waiting: Vec::new(),
        }
    }

    fn run_line(self, title: &str, state: RunState) -> RunLine {
        RunLine {
            run: self.t("20261122-201501-b7e2"),
            project: self.t("kms-connect"),
            title: self.t(title),
            started: at("2026-11-22T20:15:01Z"),
            millis: Some(185_000),
            downtime_millis: matches!(state, RunState::Ended(_)).then_some(14_200),
            by: Some(self.t("web user ada")),
            state,
        }
    }

    fn runs(self) -> Vec<RunLine> {
        vec![
            self.run_line("turn persistent storage of blog on", RunState::Running),
            self.run_line(
                "move postgres_data, media_volume to /mnt/kms-data",
                RunState::Ended(Outcome::Done),
            ),
            self.run_line("deploy backend, worker", RunState::Ended(Outcome::RolledBack)),
            self.run_line("move media_volume to /mnt/kms-data", RunState::Waiting),
            self.run_line("back up postgres_data", RunState::Ended(Outcome::Failed)),
            self.run_line("its journal cannot be read", RunState::Damaged),
        ]
    }

    fn backups(self) -> Vec<BackupLine> {
        ["kms-connect-20261122T020000Z", "kms-connect-20261121T020000Z"]
            .into_iter()
            .map(|name| BackupLine {
                name: self.t(name),
                of: self.t("kms-connect"),
                made: at("2026-11-22T02:00:00Z"),
                bytes: Some(2_812_000_000),
                place: self.t("s3://kms-backups/daily"),
            })
            .collect()
    }

    pub fn site_line(self, name: &str, storage: Storage) -> SiteLine {
        let has = storage != Storage::Off;
        SiteLine {
            name: self.t(name),
            made_of: self.t("/srv/sites/blog"),
            storage,
            data: has.then(|| self.t("/var/deploy/data/blog")),
            bytes: has.then_some(48_300_000),
            changed: has.then(|| at("2026-11-22T19:58:00Z")),
        }
    }

    fn site_lines(self) -> Vec<SiteLine> {
        vec![
            self.site_line("blog", Storage::On),
            self.site_line("shop", Storage::Panel),
            self.site_line("wiki", Storage::Off),
        ]
    }

    fn findings(self) -> Vec<Finding> {
        vec![
            Finding {
                tone: Tone::Bad,
                about: self.t("kms-connect"),
                text: self.t("postgres_data lies on the system disk, and that is 96 % full"),
                hint: Some(self.t("rehome move --to /mnt/kms-data")),
            },
            Finding {
                tone: Tone::Warning,
                about: self.t("this server"),
                text: self.t("the last backup is 3 days old"),
                hint: None,
            },
        ]
    }

    fn volumes(self) -> Vec<VolumeLine> {
        let volume = |key: &str, used| VolumeLine {
            key: self.t(key),
            home: self.t("Block volume"),
            path: Some(self.t(&format!("/mnt/kms-data/kms-connect/{key}"))),
            bytes: Some(812_000_000),
            files: Some(14_212),
            fill: Some(Fill {
                used,
                total: 40_000_000_000,
            }),
            datastores: vec![self.t("PostgreSQL 16")],
            mounted_by: vec![self.t("backend"), self.t("worker:ro")],
        };
        vec![
            volume("postgres_data", 12_000_000_000),
            volume("media_volume", 35_600_000_000),
            volume("static_volume", 39_600_000_000),
        ]
    }

    fn failure(self) -> Failure {
        Failure::refused(self.t("there is not enough room on /mnt/kms-data"))
            .cause(self.t("28 GB are needed, and 12 GB are free"))
            .data(self.t("nothing was changed"))
            .hint(self.t("rehome grow /mnt/kms-data"))
            .hint(self.t("rehome move --volume postgres_data"))
    }

    fn steps(self, states: &[StepState]) -> Vec<StepLine> {
        let titles = [
            "make the directories",
            "copy what can be copied while all runs",
            "stop backend, worker",
            "copy the rest and compare every file",
            "write the override",
            "start everything, and see that it is well",
        ];
        titles
            .into_iter()
            .zip(states)
            .map(|(title, &state)| StepLine {
                title: self.t(title),
                state,
                millis: matches!(state, StepState::Done | StepState::Undone).then_some(8_400),
                detail: (state == StepState::Done).then(|| self.t("14 212 files, 2.8 GB, all alike")),
            })
            .collect()
    }

    fn log(self) -> Vec<LogLine> {
        vec![
            LogLine {
                level: Level::Info,
                text: self.t("services are down"),
            },
            LogLine {
                level: Level::Warning,
                text: self.t("celery took 9 s to stop"),
            },
        ]
    }

    pub fn run(self, state: RunState) -> RunView {
        use StepState::{Ahead, Done, Failed, Running, Undone};
        let states = match state {
            RunState::Running => [Done, Done, Done, Running, Ahead, Ahead],
            RunState::Ended(Outcome::RolledBack) => [Undone, Undone, Undone, Failed, Ahead, Ahead],
            RunState::Waiting => [Done, Done, Done, Ahead, Ahead, Ahead],
            _ => [Done; 6],
        };
        RunView {
            frame: self.frame(),
            line: self.run_line("move postgres_data, media_volume to /mnt/kms-data", state),
            steps: self.steps(&states),
            progress: match state.is_live() {
                true => vec![ProgressLine {
                    work: self.t("copy media_volume"),
                    percent: Some(42),
                    text: self.t("1.2 GB of 2.8 GB"),
                }],
                false => Vec::new(),
            },
            log: self.log(),
            summary: match state {
                RunState::Ended(Outcome::Done) => self.t("Verified:\n  12 files\nNext:\n  rehome status"),
                _ => String::new(),
            },
            failure: (state == RunState::Ended(Outcome::RolledBack)).then(|| self.failure()),
            waiting: state.waits().then(|| self.waiting()),
            wizard: true,
        }
    }

    fn confirm(self) -> ConfirmView {
        ConfirmView {
            frame: self.frame(),
            title: self.t("Turn persistent storage on for blog?"),
            lead: self.t("The service is stopped and made anew for it. If anything fails, it is made again as it was."),
            plan: Ok(self.t(
                "Persistent storage of blog goes on\n  /var/deploy/data/blog at /data of service web in project blog, \
                 and DATA_DIR=/data\n\nWhat happens\n   1  make /var/deploy/data/blog, owner 1000:1000\n   2  write \
                 docker-compose.site.yml\n   3  replace what changed of web\n\nNo directory and no volume is deleted.\n",
            )),
            action: "/sites/blog/storage".to_owned(),
            warnings: vec![self.t("what is in /data inside of the container goes with it")],
            problem: None,
            fields: vec![("on".to_owned(), self.t("1"))],
            button: self.t("Turn it on"),
            back: "/sites/blog/settings".to_owned(),
            wizard: false,
        }
    }

    fn site(self, tab: Tab, storage: Storage) -> SiteView {
        SiteView {
            frame: self.frame(),
            tab,
            site: self.site_line("blog", storage),
            directory: Some(self.t("/srv/sites/blog")),
            project: Some(self.t("blog")),
            service: Some(self.t("web")),
            owner: Some(self.t("1000:1000")),
            files: Some(312),
            unseen: Some(self.t("not all of it may be read")),
            fill: Some(Fill {
                used: 9_000_000_000,
                total: 40_000_000_000,
            }),
            backups: self.backups(),
            runs: self.runs(),
            targets: self.targets(),
        }
    }

    fn targets(self) -> Vec<Target> {
        vec![
            Target {
                value: self.t("/mnt/kms-data"),
                name: self.t("Block volume at /mnt/kms-data"),
                fill: Some(Fill {
                    used: 12_000_000_000,
                    total: 40_000_000_000,
                }),
                picked: true,
            },
            Target {
                value: "volumes".to_owned(),
                name: self.t("Docker's directory"),
                fill: None,
                picked: false,
            },
        ]
    }

    fn pick(self) -> PickView {
        let volumes = self.volumes().into_iter().enumerate();
        PickView {
            frame: self.frame(),
            project: self.t("kms-connect"),
            volumes: volumes
                .map(|(i, volume)| PickVolume {
                    volume,
                    picked: i == 0,
                    stays: (i == 2).then(|| self.t("it is external")),
                })
                .collect(),
            targets: self.targets(),
            problem: None,
        }
    }

    pub fn sites(self, sites: Vec<SiteLine>) -> SitesView {
        SitesView {
            frame: self.frame(),
            in_all: sites.len() as u64,
            sites,
            search: String::new(),
            form: AddForm::default(),
        }
    }

    fn overview(self) -> OverviewView {
        let place = |name: &str, path: &str, used, holds: &[&str]| Place {
            name: self.t(name),
            path: self.t(path),
            fill: Some(Fill {
                used,
                total: 40_000_000_000,
            }),
            holds: holds.iter().map(|held| self.t(held)).collect(),
        };
        OverviewView {
            frame: Frame {
                waiting: vec![self.waiting()],
                ..self.frame()
            },
            places: vec![
                place(
                    "Block volume",
                    "/mnt/kms-data",
                    12_000_000_000,
                    &["postgres_data", "media_volume", "2 sites"],
                ),
                place("System disk", "/var/lib/docker", 38_400_000_000, &["redis_data"]),
            ],
            projects: vec![
                ProjectLine {
                    name: self.t("kms-connect"),
                    directory: Some(self.t("/srv/kms-connect")),
                    up: 6,
                    services: 6,
                    volumes: 4,
                    home: self.t("3 of 4 on the block volume"),
                },
                ProjectLine {
                    name: self.t("blog"),
                    directory: Some(self.t("/srv/sites/blog")),
                    up: 1,
                    services: 2,
                    volumes: 1,
                    home: self.t("Docker's directory"),
                },
            ],
            sites: self.site_lines(),
            sites_in_all: 3,
            findings: self.findings(),
            backups: self.backups(),
            runs: self.runs(),
        }
    }

    fn project(self) -> ProjectView {
        ProjectView {
            frame: self.frame(),
            name: self.t("kms-connect"),
            directory: Some(self.t("/srv/kms-connect")),
            services: vec![
                ServiceLine {
                    name: self.t("backend"),
                    image: self.t("kms/backend:4.2"),
                    up: 1,
                    containers: 1,
                },
                ServiceLine {
                    name: self.t("worker"),
                    image: self.t("kms/backend:4.2"),
                    up: 1,
                    containers: 2,
                },
            ],
            volumes: self.volumes(),
            sites: self.site_lines(),
            findings: self.findings(),
            backups: self.backups(),
            runs: self.runs(),
            can: Can {
                move_: true,
                deploy: true,
                backup: true,
            },
        }
    }

    fn audit(self) -> AuditView {
        let line = |what: &str, who: &str, outcome: &str, tone| AuditLine {
            at: at("2026-11-22T20:15:01Z"),
            who: self.t(who),
            from: self.t("203.0.113.7"),
            what: self.t(what),
            outcome: self.t(outcome),
            tone,
            run: (tone == Tone::Good).then(|| self.t("20261122-201501-b7e2")),
        };
        AuditView {
            frame: self.frame(),
            lines: vec![
                line("turn persistent storage of blog on", "ada", "done", Tone::Good),
                line("log in", "mallory", "refused", Tone::Bad),
            ],
            older: Some("/audit?before=17".to_owned()),
        }
    }

    /// Every page, some of them in more than one state.
    pub fn pages(self) -> Vec<Page> {
        let done = RunState::Ended(Outcome::Done);
        let back = RunState::Ended(Outcome::RolledBack);
        let login_view = |problem: Option<String>| LoginView {
            csrf: self.t("c5rf"),
            server: self.t("harbour"),
            next: Some(self.t("/sites")),
            user: problem.as_ref().map(|_| self.t("ada")).unwrap_or_default(),
            problem,
        };
        let refused = ConfirmView {
            plan: Err(self.failure()),
            ..self.confirm()
        };
        let plan = ConfirmView {
            title: self.t("Move 2 volumes of kms-connect?"),
            button: self.t("Move them"),
            wizard: true,
            ..self.confirm()
        };
        let form = AddForm {
            problem: Some(self.failure()),
            name: self.t("wiki"),
            is_image: true,
            project: self.t("/srv/wiki"),
            service: self.t("web"),
            image: self.t("wiki:2"),
            port: self.t("8080:3000"),
            health: self.t("/healthz"),
        };
        let with_problem = SitesView {
            search: self.t("i"),
            form,
            ..self.sites(self.site_lines())
        };
        let history_view = HistoryView {
            frame: self.frame(),
            runs: self.runs(),
            older: Some("/history?before=17".to_owned()),
        };
        let problem = ErrorView {
            status: 422,
            failure: self.failure(),
            back: "/".to_owned(),
        };
        let wrong = Some(self.t("Name or password is wrong."));
        [
            ("login", "/login", login(&login_view(None))),
            ("login-wrong", "/login-wrong", login(&login_view(wrong))),
            ("overview", "/", overview(&self.overview())),
            ("sites", "/sites", sites(&self.sites(self.site_lines()))),
            ("sites-problem", "/sites-problem", sites(&with_problem)),
            (
                "site",
                "/sites/blog",
                site(&self.site(Tab::Overview, Storage::On)),
            ),
            (
                "site-on",
                "/sites/blog/settings",
                site(&self.site(Tab::Settings, Storage::On)),
            ),
            (
                "site-off",
                "/sites/wiki/settings",
                site(&self.site(Tab::Settings, Storage::Off)),
            ),
            ("storage", "/sites/blog/storage", confirm(&self.confirm())),
            ("storage-refused", "/sites/shop/storage", confirm(&refused)),
            ("project", "/projects/kms-connect", project(&self.project())),
            ("move-pick", "/projects/kms-connect/move", pick(&self.pick())),
            ("move-plan", "/move-plan", confirm(&plan)),
            ("run-live", "/runs/live", run(&self.run(RunState::Running))),
            ("run-done", "/runs/done", run(&self.run(done))),
            ("run-back", "/runs/back", run(&self.run(back))),
            ("run-waits", "/runs/waits", run(&self.run(RunState::Waiting))),
            ("history", "/history", history(&history_view)),
            ("audit", "/audit", audit(&self.audit())),
            ("error", "/error", error(&problem)),
        ]
        .into_iter()
        .map(|(name, path, html)| Page {
            name,
            path,
            html: html.unwrap(),
        })
        .collect()
    }
}
