//! `rehome restart`: restarts services, and makes those anew whose environment or definition is another in the files than
//! their containers were made of; and the proof that containers have what the files say.

use std::time::Duration;

use super::passes::override_is_read;
use super::{App, override_};
use crate::model::{Failure, Result, ServiceName};
use crate::observe::Depth;
use crate::plan::restart::{RestartPlan, Restarted, restart_plan};
use crate::steps::{self, Cx, Downtime, Maintenance, StackFiles};

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub struct RestartRequest {
    /// These; all that run if there are none.
    pub services: Vec<ServiceName>,
    /// `--timeout`.
    pub stop_timeout: Option<Duration>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Restarts services. Says what is made anew and why, before and after.
///
/// # Errors
/// Refused in words what can be known beforehand; when a service does not stop or come up, or does not have afterwards
/// what the files say.
pub async fn restart(app: &App, request: &RestartRequest) -> Result<Vec<String>> {
    let _lock = if request.dry_run { None } else { Some(app.lock()?) };
    app.no_unfinished_run()?;
    override_is_read(app)?;
    images_are_here(app).await?;
    let seen = app.observer(&app.looking()).look_for_deploy(&[]).await?;
    let stop_timeout = request.stop_timeout.or(app.settings.stop_timeout);
    let plan = restart_plan(&seen, &request.services, stop_timeout)?;
    let said: Vec<String> = plan.services.iter().map(words).collect();
    if request.dry_run {
        return Ok(said);
    }
    for line in &said {
        app.options.events.info(line.clone());
    }
    let cx = world(app);
    let limit = app.settings.deploy.limit;
    steps::restart(&cx, &plan.stopping, &plan.making, &plan.starting, limit).await?;
    has_new_values(app, &plan).await?;
    prove_data(app).await?;
    Ok(said)
}

fn words(restarted: &Restarted) -> String {
    let service = &restarted.service;
    match (restarted.why.is_empty(), restarted.newer_image) {
        (false, _) => format!(
            "{service} is made anew, a restart would not do: {}",
            restarted.why.join(", ")
        ),
        (true, true) => format!(
            "{service} is restarted on the image that it has; its name means a newer one by now: rehome deploy"
        ),
        (true, false) => format!("{service} is restarted"),
    }
}

/// Whether a service is to be made anew is asked of Compose, which needs the images for that; and nothing is stopped
/// before they are there.
async fn images_are_here(app: &App) -> Result<()> {
    for container in app.engine.project_containers(&app.project.name).await? {
        let service = container
            .service
            .as_ref()
            .and_then(|s| app.project.services.get(s));
        let Some((service, image)) = service.and_then(|s| Some((&s.name, s.image.as_ref()?))) else {
            continue;
        };
        if !container.one_off && app.engine.find_image(image).await?.is_none() {
            return Err(
                Failure::refused(format!("the image {image} of service `{service}` is not here"))
                    .cause("whether the service is to be made anew cannot be told without it")
                    .data("nothing was changed")
                    .hint("a deployment pulls or builds it: rehome deploy"),
            );
        }
    }
    Ok(())
}

/// The world of the steps, without a run: nothing is kept in its directory.
fn world(app: &App) -> Cx {
    let directory = app.state.path();
    Cx {
        engine: app.engine.clone(),
        compose: app.compose.clone(),
        project: app.project.name.clone(),
        files: StackFiles {
            before: app.located.clone(),
            after: app.located.clone(),
        },
        run: app.looking(),
        run_dir: directory.to_owned(),
        env: app.options.project.env.clone(),
        vault: None,
        storage: None,
        events: app.options.events.clone(),
        interrupt: app.options.interrupt.clone(),
        downtime: Downtime::of_run(directory),
        last_round: std::sync::Mutex::default(),
        maintenance: Maintenance::of_run(Vec::new(), directory),
    }
}

/// Asks the containers themselves: what was made anew has what the files say.
async fn has_new_values(app: &App, plan: &RestartPlan) -> Result<()> {
    let containers = app.engine.project_containers(&app.project.name).await?;
    let run = app.looking();
    let observer = app.observer(&run);
    for making in &plan.making {
        let Some(service) = app.project.services.get(&making.service) else {
            continue;
        };
        let differs = observer.differs(service, &containers).await?;
        if !differs.is_empty() {
            return Err(Failure::environment(format!(
                "service `{}` was made anew, and still is not what the files say",
                making.service
            ))
            .cause(format!(
                "its container has something else in {}",
                differs.join(", ")
            ))
            .data("no data was touched"));
        }
        app.options
            .events
            .info(format!("{} has what the files say (inspected)", making.service));
    }
    Ok(())
}

/// Every container has the data that the files say: the same volumes, and these where they say.
///
/// # Errors
/// Names what is mounted instead.
pub(super) async fn prove_data(app: &App) -> Result<()> {
    let depth = Depth {
        scan: Some(Vec::new()),
        ..Depth::default()
    };
    let run = app.looking();
    let world = app.look(&run, &depth).await?;
    let containers = app.engine.project_containers(&app.project.name).await?;
    let elsewhere = app.observer(&run).elsewhere(&containers, &world);
    let strays = override_::strays(app, &world).await?;
    let told = |service: &ServiceName| elsewhere.iter().any(|e| e.service == *service);
    let mut services: Vec<&ServiceName> = elsewhere.iter().map(|e| &e.service).collect();
    let mut causes: Vec<String> = elsewhere
        .iter()
        .map(|e| {
            format!(
                "{} of {}: there is {}, and the files say {}",
                e.target, e.service, e.now, e.then
            )
        })
        .collect();
    for (service, finding) in strays.iter().filter(|(service, _)| !told(service)) {
        services.push(service);
        causes.push(finding.clone());
    }
    services.dedup();
    let Some(first) = services.first() else {
        return Ok(());
    };
    let failure = Failure::environment(format!(
        "service `{first}` does not have the data that the files say"
    ));
    let failure = causes.into_iter().fold(failure, Failure::cause);
    Err(failure
        .data("no data was changed: Compose keeps a volume that is there as it is")
        .hint("to take the data along to where the files say: put the files back as they were, then `rehome move`")
        .hint("`rehome status` shows where each volume lives"))
}
