//! Uploads behind a proxy, and what they ask of a storage, counted by that proxy.

use rehome::helper::context::Context;
use rehome::helper::protocol::{Held, Spent, SyncJob, UploadsAnswer, UploadsJob};
use rehome::helper::uploads::counted;
use rehome::model::Result;
use rehome::s3::{Access, Proxy, S3Settings, SetupWanted};

use super::Bench;
use crate::forward::{Forward, USER};
use crate::support::{server, told};

/// An access through a proxy, as the environment would say it.
fn through(bench: &Bench, endpoint: &str, proxy: &str) -> Access {
    let names = |name: &str| (name == "ALL_PROXY").then(|| proxy.to_owned());
    let of = |endpoint: &str| S3Settings {
        endpoint: Some(endpoint.to_owned()),
        ..bench.access().settings
    };
    let access = Access {
        // What is on this machine would be asked directly.
        proxy: Proxy::to(&of("https://s3.example.org"), &names).unwrap(),
        settings: of(endpoint),
        ..bench.access()
    };
    // As the helper gets it.
    Access::from_wire(&access.to_wire().unwrap()).unwrap()
}

fn ask(bench: &Bench, access: &Access, job: UploadsJob) -> (Result<UploadsAnswer>, Spent) {
    let request = bench.request(&bench.path("tree"), job);
    counted(&Context::new(), &request, access)
}

fn verify() -> UploadsJob {
    UploadsJob::Verify {
        read: true,
        in_use: None,
    }
}

#[test]
fn a_storage_that_only_the_proxy_knows_is_reached_and_each_request_is_counted() {
    let bench = Bench::on("SEAWEEDFS");
    let proxy = Forward::to(server("SEAWEEDFS"));
    bench.fill("for n in $(seq 40); do echo $n > f$n; done; head -c 9000000 /dev/urandom > large");
    let access = through(&bench, "http://storage.rehome-tests.invalid", &proxy.address());
    for job in [UploadsJob::Sync(SyncJob::default()), verify()] {
        let (answer, spent) = ask(&bench, &access, job);
        assert!(answer.unwrap().is_good());
        let asked = spent.asked;
        let methods = proxy.methods();
        let of = |method: &str| methods.get(method).copied().unwrap_or(0);
        assert_eq!(
            (of("GET"), of("HEAD"), of("PUT") + of("POST"), of("DELETE")),
            (asked.list + asked.get, asked.head, asked.put, asked.delete),
            "{asked:?}"
        );
        assert_eq!((asked.failed, asked.bucket), (0, 0));
        let there = bench.bucket.boto(
            "all = s3.list_objects_v2(Bucket=bucket)['Contents']\n\
             print(len(all), sum(o['Size'] for o in all))",
        );
        let Held { objects, bytes } = spent.held.unwrap();
        assert_eq!(there.trim(), format!("{objects} {bytes}"));
    }
    // What is deleted is not there any more, and a dry run changes nothing.
    bench.fill("rm f1 f2");
    for (dry_run, objects) in [(true, 41), (false, 39)] {
        let job = SyncJob {
            delete: true,
            dry_run,
            ..SyncJob::default()
        };
        let (answer, spent) = ask(&bench, &access, UploadsJob::Sync(job));
        assert!(answer.unwrap().is_good());
        assert_eq!(spent.held.unwrap().objects, objects);
    }
}

#[test]
fn a_tunnel_carries_tls_and_what_anybody_may_see_is_asked_through_it_too() {
    let bench = Bench::on("SEAWEEDFS_TLS");
    let proxy = Forward::to(server("SEAWEEDFS_TLS"));
    bench.fill("echo hello > a");
    // The certificate is for 127.0.0.1 alone.
    let access = through(&bench, server("SEAWEEDFS_TLS"), &proxy.address());
    let (answer, _) = ask(&bench, &access, UploadsJob::Sync(SyncJob::default()));
    assert!(answer.unwrap().is_good());
    let before = proxy.tunnels();
    assert!(before > 0 && proxy.methods().is_empty());
    // The canary's signed address answers 200, and without its signature 403.
    let wanted = SetupWanted::default();
    let (answer, spent) = ask(&bench, &access, UploadsJob::SetUp(wanted));
    let UploadsAnswer::SetUp(report) = answer.unwrap() else {
        panic!("no report")
    };
    assert!(
        report.canary.iter().any(|line| line.contains("200")),
        "{report:?}"
    );
    assert!(proxy.tunnels() > before && spent.asked.bucket > 0);
}

#[test]
fn a_proxy_that_wants_a_password_is_told_and_the_password_is_not() {
    let bench = Bench::on("SEAWEEDFS");
    let proxy = Forward::to(server("SEAWEEDFS"));
    bench.fill("echo hello > a");
    let endpoint = "http://storage.rehome-tests.invalid";
    let access = through(&bench, endpoint, &proxy.stranger());
    let (answer, spent) = ask(&bench, &access, verify());
    let said = told(&answer.unwrap_err());
    assert!(said.contains("407") && !said.contains(USER), "{said}");
    assert!(proxy.refused() > 0 && spent.asked.failed > 0);
    assert_eq!(spent.held, None);
}

#[test]
fn what_a_storage_in_trouble_makes_us_ask_again_is_counted_as_failed() {
    use crate::proxy::{Faults, Proxy as Faulty};
    let mut bench = Bench::on("SEAWEEDFS");
    let faulty = Faulty::before(
        server("SEAWEEDFS"),
        Faults {
            errors: 3,
            ..Faults::default()
        },
    );
    bench.fill("echo hello > a");
    bench.address = faulty.address();
    let access = bench.access();
    let (answer, spent) = ask(&bench, &access, UploadsJob::Sync(SyncJob::default()));
    assert!(answer.unwrap().is_good());
    assert_eq!(spent.asked.failed, 3, "{spent:?}");
}
