//! Running one request in a helper container: read-only root, only the mounts that the request needs, and no network
//! unless it is asked for.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount as ApiMount, MountBindOptions, MountType,
    MountVolumeOptions,
};
use bollard::query_parameters::{AttachContainerOptionsBuilder, CreateContainerOptionsBuilder};
use futures_util::StreamExt;

use super::image::PROGRAM;
use super::{
    Engine, LABEL_PAGE, LABEL_PROCESS, LABEL_PROJECT, LABEL_RUN, LABEL_SPARE, LABEL_TWIN, Published, failed,
};
use crate::helper::protocol::{Answer, FailClass, Line, Request, UploadsJob};
use crate::model::{ContainerId, Failure, Owner, ProjectName, Result, RunId, VolumeName};

/// A line of the helper is never longer.
pub(super) const LINE_LIMIT: usize = 4 << 20;
/// What is kept of the helper's stderr.
pub(super) const STDERR_LIMIT: usize = 16 * 1024;
/// So often a request is made whose answer the engine loses.
const ATTEMPTS: usize = 3;
/// The weight of a gentle helper on the processors; that of a container is 1024 unless it is said.
/// <https://docs.docker.com/engine/containers/resource_constraints/#configure-the-default-cfs-scheduler>
const GENTLE_SHARES: i64 = 64;
/// After its last line the helper must end within this.
pub(super) const END_LIMIT: Duration = Duration::from_secs(30);

/// The capabilities of a container that the copier needs: owners, modes, device nodes, file capabilities, and to read
/// what belongs to others. All others are dropped. <https://man7.org/linux/man-pages/man7/capabilities.7.html>
const CAPABILITIES: [&str; 7] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "MKNOD",
    "SETFCAP",
];

/// Without it the kernel hides `trusted.*` attributes (a Docker in a container keeps its layers' state in them), and
/// they would be lost without a word. <https://man7.org/linux/man-pages/man7/xattr.7.html>
const SEES_TRUSTED: &str = "SYS_ADMIN";

/// What a helper may do for a request. One that speaks with a storage of others gets what it needs and no more.
fn capabilities(request: &Request) -> Vec<String> {
    if let Request::Uploads(uploads) = request {
        let needed: &[&str] = match uploads.job {
            UploadsJob::Pull { .. } => &["CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID"],
            UploadsJob::Sync(_) | UploadsJob::Verify { .. } => &["DAC_READ_SEARCH"],
            UploadsJob::SetUp(_) | UploadsJob::Check { .. } => &[],
        };
        return needed.iter().map(|&one| one.to_owned()).collect();
    }
    fn reads_attributes(request: &Request) -> bool {
        match request {
            Request::Copy(_)
            | Request::Verify(_)
            | Request::Compare { .. }
            | Request::Archive { .. }
            | Request::Unarchive { .. }
            | Request::Snapshot(_) => true,
            Request::Several { requests } => requests.iter().any(reads_attributes),
            _ => false,
        }
    }
    let more = reads_attributes(request).then_some(SEES_TRUSTED);
    CAPABILITIES.into_iter().chain(more).map(str::to_owned).collect()
}

/// What a helper sees of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HelperMount {
    /// A Docker volume that exists.
    Volume {
        /// Which.
        name: VolumeName,
        /// Where.
        target: String,
        /// Not writable.
        read_only: bool,
    },
    /// A directory of the engine's host that exists.
    Bind {
        /// Which.
        source: String,
        /// Where.
        target: String,
        /// Not writable.
        read_only: bool,
    },
}

impl HelperMount {
    /// Where it is in the container.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            HelperMount::Volume { target, .. } | HelperMount::Bind { target, .. } => target,
        }
    }
}

/// What network a helper has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// None.
    None,
    /// That of a running container: `localhost` is the container's.
    Of(ContainerId),
    /// That of the engine with this name: whoever is in it can be asked, and it leads out.
    Named(String),
    /// The host's own.
    Host,
    /// The engine's own, with ports of the host that all lead to one of its own.
    Published {
        /// Of the host.
        ports: Vec<Published>,
        /// In the helper.
        to: u16,
    },
}

/// One request and all that it needs.
#[derive(Debug, Clone)]
pub struct HelperJob {
    /// The run, for the label.
    pub run: RunId,
    /// The project, for the label.
    pub project: ProjectName,
    /// What shall be done.
    pub request: Request,
    /// What it sees.
    pub mounts: Vec<HelperMount>,
    /// Network.
    pub network: Network,
    /// Run as this user, without any capability, instead of root with those of the copier.
    pub user: Option<Owner>,
    /// How much of the processors it may have when others want them.
    pub pace: Pace,
}

/// How much of the processors a helper may have when others want them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pace {
    /// As much as any container.
    #[default]
    Usual,
    /// What the others leave: for work beside a stack that serves its users.
    Gentle,
}

impl HelperJob {
    /// A request that runs as root, with the copier's capabilities and no network.
    #[must_use]
    pub fn new(run: &RunId, project: &ProjectName, request: Request, mounts: Vec<HelperMount>) -> Self {
        Self {
            run: run.clone(),
            project: project.clone(),
            request,
            mounts,
            network: Network::None,
            user: None,
            pace: Pace::Usual,
        }
    }
}

impl Engine {
    /// Runs a request in a helper container and returns its answer; the container is removed afterwards. Lines other
    /// than the last go to `on_line`. When the future is dropped the container may stay: [`Engine::remove_helpers`].
    ///
    /// # Errors
    /// When a volume does not exist, the helper cannot be started, fails, or ends without an answer.
    pub async fn helper(&self, job: HelperJob, on_line: &mut (dyn FnMut(Line) + Send)) -> Result<Answer> {
        let body = self.checked_body(&job).await?;
        for _ in 0..ATTEMPTS {
            let made = self
                .docker
                .create_container(Some(CreateContainerOptionsBuilder::new().build()), body.clone())
                .await
                .map_err(failed("cannot make the helper container"))?;
            let result = self.drive(&made.id, on_line).await;
            let removed = self.remove_container(&made.id).await;
            let answer = result?;
            removed?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        Err(
            Failure::environment("the engine does not hand on what the helper says").cause(format!(
                "it ended well {ATTEMPTS} times, and its answer never came"
            )),
        )
    }

    /// The container of a job whose volumes exist.
    pub(super) async fn checked_body(&self, job: &HelperJob) -> Result<ContainerCreateBody> {
        let image = self.helper_image().await?;
        self.volumes_exist(&job.mounts).await?;
        let request = serde_json::to_string(&job.request)
            .map_err(|e| Failure::bug("a request cannot be written").because(&e))?;
        Ok(self.body(job, image, request))
    }

    /// The engine would make a missing volume, empty, without a word (trap 3).
    pub(super) async fn volumes_exist(&self, mounts: &[HelperMount]) -> Result<()> {
        for mount in mounts {
            if let HelperMount::Volume { name, .. } = mount
                && self.find_volume(name).await?.is_none()
            {
                return Err(Failure::environment(format!("volume {name} does not exist")));
            }
        }
        Ok(())
    }

    pub(super) fn body(&self, job: &HelperJob, image: String, request: String) -> ContainerCreateBody {
        let mounts = job.mounts.iter().map(api_mount).collect();
        let published = match &job.network {
            Network::Published { ports, to } => {
                let bindings: Vec<_> = ports.iter().map(Published::binding).collect();
                Some((format!("{to}/tcp"), bindings))
            }
            Network::None | Network::Of(_) | Network::Named(_) | Network::Host => None,
        };
        ContainerCreateBody {
            image: Some(image),
            entrypoint: Some(vec![PROGRAM.into(), "helper".into()]),
            cmd: Some(vec![request]),
            user: Some(job.user.map_or_else(|| "0:0".to_owned(), |o| o.to_string())),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            labels: Some(labels(&job.run, &job.project)),
            exposed_ports: published.as_ref().map(|(port, _)| vec![port.clone()]),
            // A healthcheck or signal of a base image cannot interfere: there is none.
            host_config: Some(HostConfig {
                mounts: Some(mounts),
                network_mode: Some(match &job.network {
                    Network::None => "none".to_owned(),
                    Network::Of(id) => format!("container:{id}"),
                    Network::Named(name) => name.clone(),
                    Network::Host => "host".to_owned(),
                    Network::Published { .. } => "bridge".to_owned(),
                }),
                port_bindings: published
                    .as_ref()
                    .map(|(port, bindings)| HashMap::from([(port.clone(), Some(bindings.clone()))])),
                readonly_rootfs: Some(true),
                cap_drop: Some(vec!["ALL".into()]),
                cap_add: job.user.is_none().then(|| capabilities(&job.request)),
                // `label=disable`: under SELinux a confined container cannot read other containers' files.
                security_opt: Some(vec!["no-new-privileges".into(), "label=disable".into()]),
                cpu_shares: (job.pace == Pace::Gentle).then_some(GENTLE_SHARES),
                // With userns-remap numeric owners would be shifted.
                userns_mode: Some("host".into()),
                log_config: Some(HostConfigLogConfig {
                    typ: Some("none".into()),
                    config: None,
                }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// `None` when the helper ended well and its answer did not come through: a busy engine now and then loses what a
    /// container says in its last moment (seen with 28.5). Every request may be made again, so that is what is done.
    async fn drive(&self, id: &str, on_line: &mut (dyn FnMut(Line) + Send)) -> Result<Option<Answer>> {
        let mut attached = self
            .attach_and_start(id, "cannot start the helper", false)
            .await?;
        let mut stderr = String::new();
        let mut line = Vec::new();
        let mut last = None;
        while let Some(chunk) = attached.output.next().await {
            match chunk.map_err(failed("lost the connection to the helper"))? {
                LogOutput::StdErr { message } => {
                    if stderr.len() < STDERR_LIMIT {
                        stderr.push_str(&String::from_utf8_lossy(&message));
                    }
                }
                other => line.extend_from_slice(other.as_ref()),
            }
            while let Some(end) = line.iter().position(|b| *b == b'\n') {
                let rest = line.split_off(end + 1);
                match parse(&line)? {
                    told @ (Line::Progress { .. } | Line::Note { .. } | Line::Turn { .. }) => on_line(told),
                    end => last = Some(end),
                }
                line = rest;
            }
            if line.len() > LINE_LIMIT {
                return Err(Failure::bug("the helper wrote a line without end"));
            }
        }
        match last {
            Some(Line::Answer(answer)) => Ok(Some(answer)),
            Some(Line::Failed { what, because, class }) => Err(told(what, because, class)),
            _ => self.silent_end(id, &stderr).await.map(|()| None),
        }
    }

    /// Starts a container with its output attached first, so that no line of it is missed.
    pub(super) async fn attach_and_start(
        &self,
        id: &str,
        what: &str,
        stdin: bool,
    ) -> Result<AttachContainerResults> {
        let options = AttachContainerOptionsBuilder::new()
            .stream(true)
            .stdin(stdin)
            .stdout(true)
            .stderr(true)
            .build();
        let attached = self
            .docker
            .attach_container(id, Some(options))
            .await
            .map_err(failed(what))?;
        self.docker
            .start_container(id, None)
            .await
            .map_err(failed(what))?;
        Ok(attached)
    }

    /// Why the helper ended without an answer, unless it ended well.
    pub(super) async fn silent_end(&self, id: &str, stderr: &str) -> Result<()> {
        let state = tokio::time::timeout(END_LIMIT, self.docker.inspect_container(id, None)).await;
        let how = match state {
            Ok(Ok(inspect)) => {
                let state = inspect.state.unwrap_or_default();
                match (state.oom_killed, state.exit_code) {
                    (Some(true), _) => "it was killed for want of memory".to_owned(),
                    (_, Some(137)) => "it was killed".to_owned(),
                    (_, Some(0)) if stderr.is_empty() => return Ok(()),
                    (_, code) => format!("exit code {}", code.unwrap_or_default()),
                }
            }
            Ok(Err(error)) if super::is_missing(&error) => "its container was removed".to_owned(),
            _ => "and the engine does not answer".to_owned(),
        };
        let failure = Failure::environment("the helper ended before its work was done").cause(how);
        match stderr.trim() {
            "" => Err(failure),
            text => Err(failure.cause(text)),
        }
    }

    /// Removes every helper container of a run, running or not: what a crash left behind. A page is no such, and a
    /// spare neither: they work on nothing, and others decide when they go ([`Engine::remove_pages`]).
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn remove_helpers(&self, run: &RunId) -> Result<usize> {
        let filters = HashMap::from([("label", vec![format!("{LABEL_RUN}={run}")])]);
        let mut removed = 0;
        for helper in self.summaries(filters).await? {
            let labels = helper.labels.unwrap_or_default();
            if labels.contains_key(LABEL_PAGE) || labels.contains_key(LABEL_SPARE) {
                continue;
            }
            let Some(id) = helper.id else { continue };
            match labels.contains_key(LABEL_TWIN) {
                true => self.remove_twin(&id).await?,
                false => self.remove_container(&id).await?,
            }
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes the helpers of a project that ended and that nobody waits for: a process that was killed while it
    /// looked left them, and it has no run that anybody would take up.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn remove_left_helpers(&self, project: &ProjectName) -> Result<()> {
        let ended = ["created", "exited", "dead"].map(str::to_owned).to_vec();
        let filters = HashMap::from([
            (
                "label",
                vec![format!("{LABEL_PROJECT}={project}"), LABEL_PROCESS.to_owned()],
            ),
            ("status", ended),
        ]);
        for helper in self.summaries(filters).await? {
            let mut labels = helper.labels.unwrap_or_default();
            let waiting = labels.remove(LABEL_PROCESS);
            // Somebody else may look at the same time, and needs no lock for that: theirs are not ours to remove.
            if waiting.is_some_and(|pid| Path::new("/proc").join(pid).exists()) {
                continue;
            }
            let Some(id) = helper.id else { continue };
            match labels.contains_key(LABEL_TWIN) {
                true => self.remove_twin(&id).await?,
                false => self.remove_container(&id).await?,
            }
        }
        Ok(())
    }

    /// Runs a short command in a fresh container of an image, without mounts, network or environment of ours, and
    /// returns what it wrote to stdout: `postgres --version`.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time.
    pub async fn ask_image(
        &self,
        image: &str,
        run: &RunId,
        project: &ProjectName,
        command: &[&str],
    ) -> Result<String> {
        let mut text = String::new();
        for _ in 0..ATTEMPTS {
            text = self.ask_image_once(image, run, project, command).await?;
            if !text.is_empty() {
                break;
            }
        }
        Ok(text)
    }

    async fn ask_image_once(
        &self,
        image: &str,
        run: &RunId,
        project: &ProjectName,
        command: &[&str],
    ) -> Result<String> {
        let what = || format!("cannot run `{}` in image {image}", command.join(" "));
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| Failure::bug("an empty command"))?;
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec![(*program).to_owned()]),
            cmd: Some(arguments.iter().map(|a| (*a).to_owned()).collect()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            labels: Some(labels(run, project)),
            host_config: Some(HostConfig {
                network_mode: Some("none".into()),
                cap_drop: Some(vec!["ALL".into()]),
                log_config: Some(HostConfigLogConfig {
                    typ: Some("none".into()),
                    config: None,
                }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let made = self
            .docker
            .create_container(None, body)
            .await
            .map_err(failed(what()))?;
        let asked = async {
            let mut attached = self.attach_and_start(&made.id, &what(), false).await?;
            let mut text = String::new();
            while let Some(chunk) = attached.output.next().await {
                text.push_str(&chunk.map_err(failed(what()))?.to_string());
                if text.len() > STDERR_LIMIT {
                    break;
                }
            }
            Ok(text)
        };
        let answer = tokio::time::timeout(END_LIMIT, asked)
            .await
            .unwrap_or_else(|_| Err(Failure::environment(what()).cause("it did not end")));
        // An image may declare volumes: these anonymous ones were made with the container and go with it.
        let options = bollard::query_parameters::RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        self.docker
            .remove_container(&made.id, Some(options))
            .await
            .map_err(failed(what()))?;
        answer
    }
}

pub(super) fn labels(run: &RunId, project: &ProjectName) -> HashMap<String, String> {
    HashMap::from([
        (LABEL_RUN.to_owned(), run.to_string()),
        (LABEL_PROJECT.to_owned(), project.to_string()),
        (LABEL_PROCESS.to_owned(), std::process::id().to_string()),
    ])
}

pub(super) fn parse(line: &[u8]) -> Result<Line> {
    serde_json::from_slice(line).map_err(|error| {
        let start = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
        Failure::bug("the helper wrote a line that is not understood")
            .because(&error)
            .cause(start)
    })
}

pub(super) fn told(what: String, because: String, class: FailClass) -> Failure {
    let failure = Failure::environment(what).cause(because);
    match class {
        FailClass::Full => failure
            .hint("free some space or inodes on the new home, or take a larger volume, and run it again"),
        FailClass::ReadOnly => failure.hint("mount the new home writable, and run it again"),
        FailClass::Source => failure
            .hint("look at the file on the server: the disk or the file system may be damaged (`dmesg`)"),
        FailClass::SourceChanged => failure.hint(
            "something outside of the stack writes to the volume: find it (`docker ps`, `lsof`) and stop it",
        ),
        FailClass::Differs | FailClass::Refused | FailClass::Other => failure,
    }
}

pub(super) fn api_mount(mount: &HelperMount) -> ApiMount {
    match mount {
        HelperMount::Volume {
            name,
            target,
            read_only,
        } => ApiMount {
            typ: Some(MountType::VOLUME),
            source: Some(name.to_string()),
            target: Some(target.clone()),
            read_only: Some(*read_only),
            // Nothing of the image is copied into a volume that is empty.
            volume_options: Some(MountVolumeOptions {
                no_copy: Some(true),
                ..MountVolumeOptions::default()
            }),
            ..ApiMount::default()
        },
        HelperMount::Bind {
            source,
            target,
            read_only,
        } => ApiMount {
            typ: Some(MountType::BIND),
            source: Some(source.clone()),
            target: Some(target.clone()),
            read_only: Some(*read_only),
            // Through the mounts API a missing source is an error; `-v` would make it (trap 1).
            bind_options: Some(MountBindOptions {
                create_mountpoint: Some(false),
                ..MountBindOptions::default()
            }),
            ..ApiMount::default()
        },
    }
}
