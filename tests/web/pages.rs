//! The text of every page, and what must be so on each.

use std::time::{Duration, Instant};

use rehome::site::Storage;
use rehome::web::pages::{asset, sites};

use super::samples::{HOSTILE, Samples};

/// What is read on a page: its text without tags, one piece a line, with forms' addresses.
fn text(html: &str) -> String {
    let mut out = String::new();
    for piece in html.split('<') {
        let (tag, words) = piece.split_once('>').unwrap_or(("", piece));
        if tag.starts_with("form") {
            out.push_str(&format!("[{tag}]\n"));
        }
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        if !words.is_empty() {
            out.push_str(&words);
            out.push('\n');
        }
    }
    out
}

#[test]
fn every_page_says_what_it_is_for() {
    for page in Samples("").pages() {
        insta::assert_snapshot!(page.name.replace('-', "_"), text(&page.html));
    }
}

/// That a browser sees the same elements is tested with a browser.
#[test]
fn no_name_becomes_a_part_of_the_page() {
    for page in Samples(HOSTILE).pages() {
        assert!(page.html.contains("alert(1)"), "{}: the name is on it", page.name);
        for raw in ["<script>", "<img", "\" onfocus", "&amp;'", "' onfocus"] {
            assert!(!page.html.contains(raw), "{}: {raw}", page.name);
        }
    }
}

#[test]
fn no_page_has_a_script_or_a_style_of_its_own() {
    for page in Samples("").pages() {
        for forbidden in [
            " style=",
            "<style",
            " onclick=",
            "javascript:",
            "http://",
            "https://",
        ] {
            assert!(!page.html.contains(forbidden), "{}: {forbidden}", page.name);
        }
        for script in page.html.split("<script").skip(1) {
            assert!(
                script.starts_with(" src=\"/assets/rehome.js\" defer></script>"),
                "{}: {script}",
                page.name
            );
        }
    }
}

#[test]
fn every_form_that_changes_something_sends_the_token() {
    let mut forms = 0;
    for page in Samples("").pages() {
        for form in page.html.split("<form").skip(1) {
            let form = form.split("</form>").next().unwrap();
            let posts = form.split('>').next().unwrap().contains("method=\"post\"");
            let token = form.contains("<input type=\"hidden\" name=\"csrf\" value=\"c5rf\">");
            assert_eq!(posts, token, "{}: {form}", page.name);
            forms += usize::from(posts);
        }
    }
    assert!(forms > 25, "{forms}");
}

#[test]
fn every_file_that_a_page_names_is_there() {
    for page in Samples("").pages() {
        for (at, prefix) in page.html.match_indices("/assets/") {
            let name = page.html[at + prefix.len()..].split('"').next().unwrap();
            assert!(asset(name).is_some(), "{}: {name}", page.name);
        }
    }
    assert_eq!(asset("../../Cargo.toml"), None);
    assert_eq!(asset(""), None);
}

#[test]
fn five_hundred_sites_are_a_page_at_once() {
    let samples = Samples("");
    let lines = (0..500)
        .map(|n| samples.site_line(&format!("site-{n}"), Storage::On))
        .collect();
    let view = samples.sites(lines);
    let html = sites(&view).unwrap();
    assert_eq!(html.matches("<th scope=\"row\">").count(), 500);
    assert!(html.contains("href=\"/sites/site-499\""));
    // The fastest of a few, as others use this machine as well; and this build is not optimised.
    let took = (0..5).map(|_| {
        let began = Instant::now();
        sites(&view).unwrap();
        began.elapsed()
    });
    let took = took.min().unwrap();
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert!(html.len() < 600_000, "{}", html.len());
}
