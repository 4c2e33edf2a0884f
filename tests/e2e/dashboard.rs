//! A person and a real browser before `rehome serve`, on an engine: through the login, the switch there and back, a
//! deployment, one that goes back by itself, and the wizard of the move. Screenshots are kept in `target/screens/`.

use serde_json::{Value, json};

use crate::chromium::drive;
use crate::serve::{Server, added};
use crate::sites::site::Writer;
use crate::stacks::furnish;
use crate::support::{Block, Stack, sh, wait_for};

const PASSWORD: &str = "correct horse battery";

/// What a person does, and what came of each.
struct Way(Vec<Value>);

impl Way {
    /// Begins at a page without being logged in.
    fn from(path: &str) -> Self {
        let way = Self(Vec::new()).goto(path);
        way.act("type", json!(["#name", "ada"]))
            .act("type", json!(["#password", PASSWORD]))
            .press("button", "Log in")
    }

    fn act(mut self, act: &str, given: Value) -> Self {
        self.0.push(json!([act, given]));
        self
    }

    fn goto(self, path: &str) -> Self {
        self.act("goto", json!(path))
    }

    fn press(self, role: &str, name: &str) -> Self {
        self.act("press", json!([role, name]))
    }

    fn look(self, name: &str) -> Self {
        self.act("look", json!(name))
    }

    fn read(self, selector: &str) -> Self {
        self.act("read", json!(selector))
    }

    fn follow(self) -> Self {
        self.act("follow", json!(null))
    }

    /// Goes it; every page that is looked at is as it should be. What came of the acts of a kind.
    #[track_caller]
    fn go(self, server: &Server) -> Gone {
        let seen = drive("person", &server.url, json!(self.0));
        let seen = seen.as_array().expect("one for each act").clone();
        let acts = self
            .0
            .iter()
            .map(|act| act[0].as_str().expect("a word").to_owned());
        let gone = Gone(acts.zip(seen).collect());
        let mut faults = Vec::new();
        for look in gone
            .all("look")
            .iter()
            .flat_map(|looks| looks.as_array().expect("two"))
        {
            let at = format!("{} {} {}", look["name"], look["scheme"], look["width"]);
            assert!(look["rules"].as_u64() > Some(15), "{at}: axe has looked: {look}");
            for kind in ["violations", "console", "small"] {
                for fault in look[kind].as_array().expect("a list") {
                    faults.push(format!("{at}: {kind}: {fault}"));
                }
            }
            if look["scroll"] != look["width"] {
                faults.push(format!("{at}: {} pixels wide", look["scroll"]));
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        gone
    }
}

struct Gone(Vec<(String, Value)>);

impl Gone {
    fn all(&self, act: &str) -> Vec<&Value> {
        let of_it = self.0.iter().filter(|(name, _)| name == act);
        of_it.map(|(_, seen)| seen).collect()
    }

    fn texts(&self, act: &str) -> Vec<&str> {
        self.all(act)
            .iter()
            .map(|seen| seen.as_str().expect("text"))
            .collect()
    }
}

/// A run was followed live to this end.
#[track_caller]
fn ended(run: &Value, outcome: &str) {
    assert_eq!(run["live"], true, "it was under way: {run}");
    assert_eq!(run["stayed"], true, "the page was not loaded again: {run}");
    assert_eq!(run["focus"], "outcome", "{run}");
    assert!(run["outcome"].as_str().expect("text").contains(outcome), "{run}");
}

fn with_a_user(stack: &Stack) {
    use std::io::Write as _;
    let mut child = stack
        .command("serve user add ada --password-stdin", &[])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    writeln!(input, "{PASSWORD}").expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_person_switches_it_on_deploys_and_sees_a_failure_go_back() {
    let site = added();
    with_a_user(&site.stack);
    let server = Server::start(&site, &[]);
    let (name, settings) = (site.name(), format!("/sites/{}/settings", site.name()));

    // The door: nothing is seen before it, and it leads to where one wanted to go.
    let way = Way(Vec::new())
        .goto(&settings)
        .look("real-login")
        .act("type", json!(["#name", "ada"]))
        .act("type", json!(["#password", "not her password"]))
        .press("button", "Log in")
        .read("#problem")
        .act("type", json!(["#password", PASSWORD]))
        .press("button", "Log in")
        .look("real-site-settings")
        .press("switch", "Persistent storage")
        .look("real-confirm")
        .read("pre.plan")
        // In a hurry.
        .act("twice", json!(["button", "Turn it on"]))
        .follow()
        .look("real-run");
    let gone = way.go(&server);
    assert_eq!(gone.texts("goto"), ["/login"]);
    let press = gone.texts("press");
    assert_eq!(press[..2], ["/login", settings.as_str()], "{press:?}");
    let read = gone.texts("read");
    assert_eq!(
        read[0].trim_start_matches('✗').trim(),
        "Name or password is wrong."
    );
    assert!(
        read[1].contains(site.data().to_str().expect("ASCII")),
        "{}",
        read[1]
    );
    let run = gone.all("follow")[0];
    ended(run, "Everything was done and verified.");
    let steps = run["steps"].as_array().expect("steps");
    assert!(
        steps.len() > 3 && steps.iter().all(|step| step == "done"),
        "{run}"
    );
    site.is(true);

    // Its data survives a deployment; one that fails goes back by itself.
    let writer = Writer::start(&site);
    writer.goes_on(20);
    let before = site.container();
    let project = format!("/projects/{name}");
    let changed = format!("{}VERSION=2\n", site.dotenv());
    let gone = Way::from(&project)
        .look("real-project")
        .press("link", "Deploy")
        .read("pre.plan")
        // What was read is not what would run by now: the plan is shown anew.
        .act("write", json!([site.stack.dir.join(".env"), changed]))
        .press("button", "Deploy")
        .look("real-plan-anew")
        .read(".failure strong")
        .read("pre.plan")
        .press("button", "Deploy")
        .follow()
        .go(&server);
    let read = gone.texts("read");
    assert!(read[0].contains("web  does not change"), "{}", read[0]);
    assert_eq!(read[1], "the plan is no longer the one that was shown");
    assert!(
        read[2].contains("is replaced: environment.VERSION"),
        "{}",
        read[2]
    );
    ended(gone.all("follow")[0], "Everything was done and verified.");
    assert_ne!(site.container(), before, "it was made anew");
    writer.goes_on(20);
    site.stack
        .file(".env", &site.dotenv().replace("VERSION=2", "VERSION=3"));
    site.stack.file(
        "rehome.yml",
        "version: 1\nchecks: [ { service: web, http: 'http://localhost:3000/health', status: 404, within: 2s } ]\n",
    );
    let gone = Way::from(&project)
        .press("link", "Deploy")
        .press("button", "Deploy")
        .follow()
        .look("real-went-back")
        .go(&server);
    let run = gone.all("follow")[0];
    ended(run, "It was rolled back: everything is as it was before.");
    let failure = run["failure"].as_str().expect("it is said");
    assert!(failure.contains("404"), "{failure}");
    assert!(
        run["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .any(|step| step == "undone"),
        "{run}"
    );
    assert_eq!(
        sh(&format!("docker exec {} printenv VERSION", site.container())),
        "2"
    );
    writer.goes_on(20);
    let acknowledged = writer.end();
    assert_eq!(site.integrity(), "ok");
    let notes = site.notes();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|note| !notes.contains(*note))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");

    // Off again, on the telephone's pages too; and everything is in the history and in the audit.
    std::fs::remove_file(site.stack.dir.join("rehome.yml")).expect("it is there");
    site.stack
        .file(".env", &site.dotenv().replace("VERSION=3", "VERSION=2"));
    let gone = Way::from(&settings)
        .press("switch", "Persistent storage")
        .press("button", "Turn it off")
        .follow()
        .goto("/")
        .look("real-overview")
        .goto("/sites")
        .look("real-sites")
        .goto(&format!("/sites/{name}"))
        .look("real-site")
        .goto("/history")
        .look("real-history")
        .act("count", json!("tbody tr"))
        .goto("/audit")
        .look("real-audit")
        .read("table")
        .press("button", "Log out")
        .goto("/history")
        .go(&server);
    ended(gone.all("follow")[0], "Everything was done and verified.");
    site.is(false);
    assert!(site.data().join("notes.db").exists(), "the data stays");
    assert_eq!(gone.all("count"), [&json!(4)]);
    let audit = gone.texts("read")[0];
    assert!(
        audit.contains("web user ada") && audit.contains("rolled_back: ") && !audit.contains("begun"),
        "{audit}"
    );
    assert_eq!(gone.texts("goto").last(), Some(&"/login"), "the way out is one");
}

#[test]
fn a_run_that_was_cut_off_waits_on_every_page_and_is_finished_there() {
    let site = added();
    with_a_user(&site.stack);
    let mut server = Server::start(&site, &[("REHOME_CRASH_AT", "after-apply:2")]);
    Way::from(&format!("/sites/{}/storage?on=1", site.name()))
        .act("leave", json!("Turn it on"))
        .go(&server);
    wait_for("the crash", || matches!(server.child.try_wait(), Ok(Some(_))));

    let server = Server::start(&site, &[]);
    let gone = Way::from("/sites")
        .read("main section.banner")
        .look("real-waits")
        .press(
            "button",
            &format!("Finish it: persistent storage of {} on", site.name()),
        )
        .follow()
        .goto("/")
        .act("count", json!("main section.banner"))
        .go(&server);
    let banner = gone.texts("read")[0];
    assert!(banner.contains("waits to be finished"), "{banner}");
    let run = gone.all("follow")[0];
    assert!(
        run["outcome"]
            .as_str()
            .expect("text")
            .contains("Everything was done"),
        "{run}"
    );
    assert_eq!(gone.all("count"), [&json!(0)], "nothing waits any more");
    site.is(true);
}

#[test]
fn a_person_moves_data_with_the_wizard() {
    let block = Block::by_rehome(300);
    let stack = crate::stacks::small();
    stack.compose("up -d");
    furnish(&stack, "data");
    sh(&format!(
        "head -c 40000000 /dev/urandom >{}/large",
        stack.volume_dir("data").display()
    ));
    with_a_user(&stack);
    let server = Server::of(&stack, &[]);
    let name = stack.name.clone();
    let gone = Way::from(&format!("/projects/{name}"))
        .press("link", "Move its data")
        .look("real-pick")
        // Nothing chosen is said, and nothing is lost of what was.
        .act("check", json!("input[value=data]"))
        .act("check", json!("input[value=side_volume]"))
        .act("check", json!(format!("input[value='{}']", block.path())))
        .press("button", "Show the plan")
        .read(".failure strong")
        .act("check", json!("input[value=data]"))
        .press("button", "Show the plan")
        .look("real-move-plan")
        .read("pre.plan")
        .press("button", "Move the data")
        .look("real-move-live")
        .follow()
        .look("real-moved")
        .goto(&format!("/projects/{name}"))
        .look("real-project-moved")
        .read("main")
        .go(&server);
    let read = gone.texts("read");
    assert_eq!(read[0], "no volume is chosen");
    assert!(read[1].contains("Move 1 volume"), "{}", read[1]);
    let run = gone.all("follow")[0];
    assert_eq!(run["stayed"], true, "{run}");
    assert!(
        run["outcome"]
            .as_str()
            .expect("text")
            .contains("Everything was done"),
        "{run}"
    );
    assert!(read[2].contains("Block volume"), "{}", read[2]);
    assert!(stack.mounted("app", "/data").contains("_data_block_"));
    assert!(
        !stack.mounted("side", "/side").contains("_block_"),
        "it was not chosen"
    );
    assert!(block.root.join("data/large").exists());
    stack.assert_tidy();

    // While somebody works on it, no helper of a look is in the way.
    let lock = sh(&format!("find {}/projects -name lock", stack.state.display()));
    let lock = std::fs::File::open(lock).expect("one, of this project");
    lock.lock().expect("nobody has it");
    let server = Server::of(&stack, &[]);
    let gone = Way::from(&format!("/projects/{name}")).read("main").go(&server);
    let read = gone.texts("read")[0];
    assert!(
        read.contains("is not looked at while somebody works on it"),
        "{read}"
    );
}

#[test]
fn a_person_moves_the_data_of_a_site() {
    let block = Block::by_rehome(300);
    let site = added();
    site.enable().exits(0);
    let note = site.note("before the move").expect("acknowledged");
    with_a_user(&site.stack);
    let server = Server::start(&site, &[]);
    let path = format!("/api/sites/{}/move", site.name());
    let (status, plan) = server.ask(
        "POST",
        &path,
        &json!({ "to": block.path(), "dry_run": true }).to_string(),
    );
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let new = block.root.join(site.name());
    assert_eq!(
        (status, plan["facts"]["data"].as_str()),
        (200, new.to_str()),
        "{plan}"
    );
    let gone = Way::from(&format!("/sites/{}/settings", site.name()))
        .act("check", json!(format!("input[value='{}']", block.path())))
        .look("real-site-move")
        .press("button", "Show the plan")
        .look("real-site-move-plan")
        .read("pre.plan")
        .press("button", "Move the data")
        .follow()
        .look("real-site-moved")
        .read("#run")
        .goto(&format!("/sites/{}", site.name()))
        .read("main")
        .go(&server);
    let read = gone.texts("read");
    assert!(read[0].contains(new.to_str().expect("ASCII")), "{}", read[0]);
    let next = format!("data_root: {}", block.path());
    assert!(
        read[1].contains(&next) && read[1].contains("content (BLAKE3)"),
        "{}",
        read[1]
    );
    ended(gone.all("follow")[0], "Everything was done and verified.");
    assert!(read[2].contains(new.to_str().expect("ASCII")), "{}", read[2]);
    assert!(site.notes_in(&new).contains(&note));
    wait_for("the site", || site.note("after it").is_some());
    // Back by one request: what was left there is never written over.
    let (status, refused) = server.ask("POST", &path, &json!({ "to": site.root() }).to_string());
    assert!(
        status == 409 && refused.contains("is there, and not empty"),
        "{status} {refused}"
    );
    std::fs::rename(site.data(), site.data().with_extension("old")).expect("it is there");
    let (status, began) = server.ask("POST", &path, &json!({ "to": site.root() }).to_string());
    let began: Value = serde_json::from_str(&began).expect("JSON");
    assert_eq!(status, 202, "{began}");
    server.to_its_end(began["run"].as_str().expect("an id"), "done");
    assert!(site.notes().contains(&note));
    site.stack.assert_tidy();
}
