//! A real browser on every page: axe finds nothing in light and dark, wide and narrow; nothing breaks the content security
//! policy; the keyboard is enough; a run is followed live. Screenshots are kept in `target/screens/`.

use std::collections::BTreeMap;

use rehome::event::{Event, Outcome};
use rehome::model::Failure;
use rehome::web::pages::{RunState, run};
use serde_json::{Value, json};

use super::chromium::drive;
use super::samples::{HOSTILE, Samples};
use super::server::{Served, serve};

fn by_path(samples: Samples) -> BTreeMap<String, String> {
    let pages = samples.pages().into_iter();
    pages.map(|page| (page.path.to_owned(), page.html)).collect()
}

fn named(samples: Samples) -> Vec<Value> {
    let pages = samples.pages().into_iter();
    pages
        .map(|page| json!({ "name": page.name, "path": page.path }))
        .collect()
}

/// The events of a run, as its server sends them.
fn events(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| serde_json::to_string(event).unwrap())
        .collect()
}

#[test]
fn axe_finds_nothing_and_nothing_breaks_the_policy() {
    let samples = Samples("");
    // The run is looked at while it goes on: its stream says nothing.
    let server = serve(Served {
        pages: by_path(samples),
        run: Some(("/runs/20261122-201501-b7e2".to_owned(), Vec::new(), String::new())),
    });
    let pages = named(samples);
    let seen = drive("look", &server.address, json!(pages));
    let seen = seen.as_array().unwrap();
    // Light and dark, at 1280, 360 and 320 pixels.
    assert_eq!(seen.len(), pages.len() * 6);
    let mut faults = Vec::new();
    for look in seen {
        let at = format!("{} {} {}", look["name"], look["scheme"], look["width"]);
        assert!(
            look["rules"].as_u64().unwrap() > 15,
            "{at}: axe has looked: {look}"
        );
        for fault in look["violations"].as_array().unwrap() {
            faults.push(format!("{at}: {fault}"));
        }
        for line in look["console"].as_array().unwrap() {
            faults.push(format!("{at}: console: {line}"));
        }
        if look["scroll"] != look["width"] {
            faults.push(format!("{at}: {} pixels wide", look["scroll"]));
        }
        for small in look["small"].as_array().unwrap() {
            faults.push(format!("{at}: a small target: {small}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Otherwise nobody knows whether it looks.
#[test]
fn planted_faults_are_found() {
    let page = "<!doctype html><html lang=en><head><title>x</title><link rel=icon href='data:,'></head><body><main><h1>x</h1>\
                <input name=q><p style='color: red'>x</p><button id=b>y</button><pre>wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww\
                wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww\
                wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww</pre></main></body></html>";
    let server = serve(Served {
        pages: [("/planted".to_owned(), page.to_owned())].into(),
        run: None,
    });
    let seen = drive(
        "look",
        &server.address,
        json!([{ "name": "planted", "path": "/planted" }]),
    );
    for look in seen.as_array().unwrap() {
        assert!(look["violations"].to_string().contains("\"label\""), "{look}");
        assert!(
            look["console"].to_string().contains("Content Security Policy"),
            "{look}"
        );
        assert!(look["small"].to_string().contains("#b"), "{look}");
    }
    let narrow = seen
        .as_array()
        .unwrap()
        .iter()
        .find(|look| look["width"] == 360)
        .unwrap();
    assert!(narrow["scroll"].as_u64() > Some(360), "{narrow}");
}

/// What a parser of HTML makes of the pages decides, not what we think that it does.
#[test]
fn hostile_names_make_no_element_and_no_attribute() {
    let (plain, hostile) = (Samples(""), Samples(HOSTILE));
    let trees = |samples: Samples| {
        let server = serve(Served {
            pages: by_path(samples),
            run: None,
        });
        drive("tree", &server.address, json!(named(samples)))
    };
    let (plain, hostile) = (trees(plain), trees(hostile));
    for (name, tree) in plain.as_object().unwrap() {
        assert!(tree.as_array().unwrap().len() > 10, "{name}: {tree}");
        assert_eq!(tree, &hostile[name], "{name}");
    }
}

#[test]
fn a_run_is_followed_to_its_end() {
    let samples = Samples("");
    let title = |step: usize| samples.run(RunState::Running).steps[step].title.clone();
    let failure = Failure::environment("media/a.jpg is not what was copied");
    let mut all = vec![Event::DowntimeBegan];
    all.extend((0..3).flat_map(|step| {
        let started = Event::StepStarted {
            step,
            of: 6,
            title: title(step),
        };
        let finished = Event::StepFinished {
            step,
            title: title(step),
            millis: 8_400,
            detail: None,
        };
        [started, finished]
    }));
    all.push(Event::StepStarted {
        step: 3,
        of: 6,
        title: title(3),
    });
    all.push(Event::Progress {
        phase: "copy".to_owned(),
        volume: None,
        bytes: 700_000_000,
        bytes_total: 2_800_000_000,
        files: 0,
        files_total: 0,
    });
    let under_way = events(&all);
    all.push(Event::StepFailed {
        step: 3,
        title: title(3),
        failure,
    });
    all.push(Event::UnwindStarted {
        reason: "<b>not alike</b>".to_owned(),
    });
    all.extend((0..3).rev().map(|step| Event::StepUndone {
        step,
        title: title(step),
        millis: 300,
    }));
    let going_back = events(&all);
    all.push(Event::Finished {
        run: None,
        outcome: Outcome::RolledBack,
        exit: 10,
        failure: None,
        report: None,
    });
    let whole = events(&all);

    let path = "/runs/20261122-201501-b7e2".to_owned();
    let after = run(&samples.run(RunState::Ended(Outcome::RolledBack))).unwrap();
    let page = |mut pages: BTreeMap<String, String>| {
        pages.insert(path.clone(), run(&samples.run(RunState::Running)).unwrap());
        pages
    };
    let follow = |events: Vec<String>, until: &str| {
        let server = serve(Served {
            pages: page(BTreeMap::new()),
            run: Some((path.clone(), events, after.clone())),
        });
        drive("follow", &server.address, json!({ "path": path, "until": until }))
    };

    let seen = follow(
        under_way,
        "document.querySelectorAll('#progress progress')[0].value === 25",
    );
    assert_eq!(
        seen["steps"],
        json!(["done", "done", "done", "running", "ahead", "ahead"])
    );
    assert_eq!(seen["current"], title(3));
    assert_eq!(seen["said"], title(3));
    assert!(
        seen["progress"].to_string().contains("700 MB of 2.8 GB"),
        "{seen}"
    );

    let seen = follow(
        going_back,
        "document.querySelector('#step-list li').className === 'undone'",
    );
    assert_eq!(
        seen["steps"],
        json!(["undone", "undone", "undone", "failed", "ahead", "ahead"])
    );
    assert!(
        seen["said"].to_string().contains("Going back: <b>not alike</b>"),
        "{seen}"
    );
    assert_eq!(seen["bold"], 0, "what is said is text");

    let seen = follow(whole, "!document.querySelector('[data-live]')");
    assert_eq!(
        seen["title"],
        "rolled back: move postgres_data, media_volume to /mnt/kms-data · Rehome"
    );
    assert_eq!(seen["focus"], "outcome");
    assert!(
        seen["outcome"]
            .to_string()
            .contains("everything is as it was before"),
        "{seen}"
    );
    assert_eq!(seen["console"], json!([]));
}

#[test]
fn the_keyboard_is_enough_with_and_without_the_script() {
    for script in [true, false] {
        let server = serve(Served {
            pages: by_path(Samples("")),
            run: None,
        });
        let seen = drive("keyboard", &server.address, json!({ "script": script }));
        assert_eq!(seen["skip"], "main", "the first key leads to the content: {seen}");
        assert_eq!(seen["role"], "switch");
        assert_eq!(seen["name"], "Persistent storage");
        assert_ne!(seen["outline"], "none", "where one is can be seen: {seen}");
        let asked = server.asked.lock().unwrap();
        let has = |line: &str| asked.iter().any(|asked| asked.starts_with(line));
        assert!(has("GET /sites/blog/storage?on=0"), "{asked:?}");
        assert!(has("POST /sites/blog/storage csrf=c5rf&on=1"), "{asked:?}");
    }
}

#[test]
fn without_the_script_a_run_is_looked_at_again() {
    let server = serve(Served {
        pages: by_path(Samples("")),
        run: None,
    });
    let seen = drive("refresh", &server.address, json!({ "path": "/runs/live" }));
    assert_eq!(seen["loaded"], 2, "{seen}");
}
