//! Starts the servers together and ends them together.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::guard::{BrokerGuard, TokenHandler};
use crate::mariadb::hex;
use crate::server::{StackServer, StackServerPlan, kept, port_was_taken, random};
use crate::{StackError, StackInstallation, kafka, mariadb, postgres, registry};

/// The number of times that one server is started while another program takes its port.
const PORT_TRIES: usize = 4;

/// The state of a server while a stack starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StackStartStep {
    /// Its folder is prepared and its process is started.
    Starting,
    /// The server answers, after this time.
    Ready(Duration),
}

/// One message about the start of a stack. Messages come from several threads, one at a time.
#[derive(Debug, Clone)]
pub struct StackProgress<'a> {
    /// `kafka`, `registry`, `mariadb` or `postgres`.
    pub server: &'a str,
    /// The new state of the server.
    pub step: StackStartStep,
}

/// Takes the messages of a start.
type StackListener<'a> = Box<dyn FnMut(&StackProgress<'_>) + Send + 'a>;

/// The choice of servers to start, and of their folders. [`ServerStack::builder`] makes it.
#[must_use]
pub struct StackBuilder<'a> {
    root: Option<PathBuf>,
    logs: Option<PathBuf>,
    kafka: usize,
    fronts: Vec<u16>,
    users: Option<Vec<String>>,
    handler: Option<TokenHandler>,
    registry: bool,
    mariadb: bool,
    postgres: bool,
    listener: Mutex<StackListener<'a>>,
}

/// Running servers. They end when this value is dropped.
pub struct ServerStack {
    servers: Vec<StackServer>,
    root: PathBuf,
    brokers: String,
    behind: Vec<u16>,
    guard: Option<BrokerGuard>,
    registry_url: String,
    mariadb_url: String,
    postgres_url: String,
    temporary: Option<tempfile::TempDir>,
}

/// One kind of server: its processes, the address for clients, and the ports behind a proxy.
struct StackServerGroup {
    servers: Vec<StackServer>,
    address: String,
    behind: Vec<u16>,
}

/// The start of one kind of server: plans of its processes, the address for clients, and the ports behind a
/// proxy.
type StackServerPlans = (Vec<StackServerPlan>, String, Vec<u16>);

impl<'a> StackBuilder<'a> {
    /// Keeps the servers' data under `root`, which is created if it does not exist. A later start goes on
    /// from this data. Without a root, everything is in a temporary folder that is removed together with the
    /// stack.
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// Sets the folder of the servers' logs. The default is `logs` under the root.
    pub fn logs(mut self, logs: impl Into<PathBuf>) -> Self {
        self.logs = Some(logs.into());
        self
    }

    /// Adds a Kafka cluster of this number of nodes (1, or 3 for replication).
    pub fn kafka(mut self, nodes: usize) -> Self {
        self.kafka = nodes;
        self
    }

    /// Puts a proxy before each node of the cluster. `ports` are the proxy's ports, one for each node.
    /// Clients that connect through the ports of [`ServerStack::behind`] get these ports as the nodes'
    /// addresses. Clients of [`ServerStack::brokers`] and the nodes among themselves never see the proxy.
    pub fn fronted(mut self, ports: Vec<u16>) -> Self {
        self.fronts = ports;
        self
    }

    /// Turns Kafka's authoriser on and adds these SCRAM users; see [`ServerStack::guard`]. For one node.
    pub fn guarded(mut self, users: &[&str]) -> Self {
        self.users = Some(users.iter().map(|name| (*name).to_owned()).collect());
        self
    }

    /// Lets a class of the test check the tokens of one listener of a guarded Kafka; see
    /// [`BrokerGuard::handled`].
    pub fn token_handler(mut self, handler: TokenHandler) -> Self {
        self.handler = Some(handler);
        self
    }

    /// Adds the schema registry.
    pub fn registry(mut self) -> Self {
        self.registry = true;
        self
    }

    /// Adds `MariaDB`.
    pub fn mariadb(mut self) -> Self {
        self.mariadb = true;
        self
    }

    /// Adds `PostgreSQL`.
    pub fn postgres(mut self) -> Self {
        self.postgres = true;
        self
    }

    /// Reports the progress of the start to `listener`.
    pub fn on_progress(mut self, listener: impl FnMut(&StackProgress<'_>) + Send + 'a) -> Self {
        self.listener = Mutex::new(Box::new(listener));
        self
    }

    /// Starts all servers at the same time and returns when each has answered.
    ///
    /// # Errors
    /// [`StackError`] with the end of the log of the server that did not become ready. The others are ended.
    pub fn start(self) -> Result<ServerStack, StackError> {
        let (root, mut temporary) = self.place()?;
        let logs = self.logs.clone().unwrap_or_else(|| root.join("logs"));

        // The id ties folders outside the root to this root; see `ServerOwner::reachable`.
        let tie = kept(&root.join("stack.id"), || Ok(hex(&random::<8>()?)))?;
        let here = StackInstallation::here();

        // Certificates and keys come first: Kafka's settings name them.
        let guard = self
            .users
            .as_ref()
            .map(|users| BrokerGuard::new(&root.join("kafka/guard"), users, self.handler.clone()))
            .transpose()?;
        let guarded = guard.as_ref();

        // References for the threads: the values themselves stay here.
        let (this, root_dir, logs, tie, here) = (&self, root.as_path(), logs.as_path(), tie.as_str(), &here);

        // One thread for each kind of server. A kind that was not chosen returns an empty group.
        let parts = std::thread::scope(|scope| {
            let kafka = scope.spawn(move || {
                this.part("kafka", this.kafka > 0, |keep| {
                    let cluster = kafka::plan(
                        here,
                        &root_dir.join("kafka"),
                        logs,
                        this.kafka,
                        &this.fronts,
                        guarded,
                        keep,
                    )?;
                    Ok((cluster.plans, cluster.brokers, cluster.behind))
                })
            });

            let registry = scope.spawn(move || {
                this.part("registry", this.registry, |keep| {
                    one(registry::plan(here, &root_dir.join("registry"), logs, keep)?)
                })
            });

            let mariadb = scope.spawn(move || {
                this.part("mariadb", this.mariadb, |keep| {
                    one(mariadb::plan(&root_dir.join("mariadb"), logs, tie, keep)?)
                })
            });

            let postgres = scope.spawn(move || {
                this.part("postgres", this.postgres, |keep| {
                    one(postgres::plan(&root_dir.join("postgres"), logs, tie, keep)?)
                })
            });

            // All threads are waited for: no server may start after an early return.
            [kafka, registry, mariadb, postgres].map(|part| part.join().unwrap_or_else(|_| Err(panicked())))
        });

        // A failed start keeps its folder: the logs tell why it failed. Dropping the groups ends their
        // servers.
        let parts = parts.into_iter().collect::<Result<Vec<StackServerGroup>, _>>();
        let parts = parts.inspect_err(|_| {
            temporary.iter_mut().for_each(|folder| folder.disable_cleanup(true));
            keep_for_reading(&root);
        })?;

        // The order of the array above: Kafka, registry, MariaDB, PostgreSQL.
        let mut stack = ServerStack {
            servers: Vec::new(),
            brokers: parts[0].address.clone(),
            behind: parts[0].behind.clone(),
            guard,
            registry_url: parts[1].address.clone(),
            mariadb_url: parts[2].address.clone(),
            postgres_url: parts[3].address.clone(),
            root,
            temporary,
        };
        stack.servers = parts.into_iter().flat_map(|part| part.servers).collect();
        Ok(stack)
    }

    /// Returns the folder of this stack. Every user may pass through it, since database servers run as their
    /// own users.
    fn place(&self) -> Result<(PathBuf, Option<tempfile::TempDir>), StackError> {
        use std::os::unix::fs::PermissionsExt;

        // A root that was chosen keeps its permissions.
        if let Some(root) = &self.root {
            let root = std::path::absolute(root).map_err(StackError::io("find the stack's folder"))?;
            std::fs::create_dir_all(&root).map_err(StackError::io(format!("create {}", root.display())))?;
            return Ok((root, None));
        }

        // Mode 711: passing through is allowed, listing is not.
        let temporary = tempfile::Builder::new()
            .prefix("sluice-stack-")
            .permissions(PermissionsExt::from_mode(0o711))
            .tempdir()
            .map_err(StackError::io("create a temporary folder"))?;
        Ok((temporary.path().to_path_buf(), Some(temporary)))
    }

    /// Starts one kind of server. Starts it again on other ports if another program took one in the meantime.
    fn part(
        &self,
        name: &str,
        wanted: bool,
        plan: impl Fn(bool) -> Result<StackServerPlans, StackError>,
    ) -> Result<StackServerGroup, StackError> {
        // An empty group keeps the order of the kinds.
        if !wanted {
            return Ok(StackServerGroup { servers: Vec::new(), address: String::new(), behind: Vec::new() });
        }

        let began = Instant::now();
        let mut tries = 1;
        loop {
            self.tell(name, StackStartStep::Starting);

            // The first try keeps the ports of the last start. Later tries take new ones.
            let (plans, address, behind) = plan(tries == 1)?;
            let mut servers: Vec<StackServer> = plans.into_iter().map(StackServer::new).collect();

            match start_together(&mut servers) {
                Ok(()) => {
                    self.tell(name, StackStartStep::Ready(began.elapsed()));
                    return Ok(StackServerGroup { servers, address, behind });
                }
                // Ports are free when they are chosen, but another program may be quicker.
                Err(error) if port_was_taken(&error) && tries < PORT_TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Hands one message to the listener.
    fn tell(&self, server: &str, step: StackStartStep) {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        listener(&StackProgress { server, step });
    }
}

impl ServerStack {
    /// Returns a builder without any server. Choose servers, then call [`StackBuilder::start`].
    pub fn builder<'a>() -> StackBuilder<'a> {
        StackBuilder {
            root: None,
            logs: None,
            kafka: 0,
            fronts: Vec::new(),
            users: None,
            handler: None,
            registry: false,
            mariadb: false,
            postgres: false,
            listener: Mutex::new(Box::new(|_| ())),
        }
    }

    /// Returns Kafka's bootstrap servers, `127.0.0.1:port,…`; empty without Kafka.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Returns the nodes' ports for the proxy of [`StackBuilder::fronted`], in the order of the proxy's
    /// ports.
    #[must_use]
    pub fn behind(&self) -> &[u16] {
        &self.behind
    }

    /// Returns the logins of a guarded Kafka. [`ServerStack::brokers`] lets super users in without a login.
    #[must_use]
    pub fn guard(&self) -> Option<&BrokerGuard> {
        self.guard.as_ref()
    }

    /// Returns the registry's Confluent-compatible API, `http://127.0.0.1:port/apis/ccompat/v7`; empty
    /// without the registry.
    #[must_use]
    pub fn registry_url(&self) -> &str {
        &self.registry_url
    }

    /// Returns `mysql://user:password@127.0.0.1:port/database`: a secret; empty without `MariaDB`.
    #[must_use]
    pub fn mariadb_url(&self) -> &str {
        &self.mariadb_url
    }

    /// Returns `postgres://user:password@127.0.0.1:port/database`: a secret; empty without `PostgreSQL`.
    #[must_use]
    pub fn postgres_url(&self) -> &str {
        &self.postgres_url
    }

    /// Returns the folder with the servers' data.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns name and process id of every server that runs: `kafka-1`…, `registry`, `mariadb`, `postgres`.
    #[must_use]
    pub fn pids(&self) -> Vec<(String, u32)> {
        self.servers.iter().filter_map(|server| Some((server.name().to_owned(), server.pid()?))).collect()
    }

    /// Kills one server, as a loss of power would. Its data stays for [`ServerStack::start_server`].
    ///
    /// # Errors
    /// The stack has no such server, or the system refused.
    pub fn kill_server(&mut self, name: &str) -> Result<(), StackError> {
        self.named(name)?.kill()
    }

    /// Ends one server in good order. Its data stays for [`ServerStack::start_server`].
    ///
    /// # Errors
    /// The stack has no such server, or the system refused.
    pub fn stop_server(&mut self, name: &str) -> Result<(), StackError> {
        self.named(name)?.stop()
    }

    /// Starts a server that was killed or ended, on its former port, and waits until it answers. A server
    /// that runs is left alone.
    ///
    /// # Errors
    /// The stack has no such server, or the server did not become ready.
    pub fn start_server(&mut self, name: &str) -> Result<(), StackError> {
        let server = self.named(name)?;
        if server.pid().is_some() {
            return Ok(());
        }
        server.start()
    }

    /// Ends all servers in good order.
    ///
    /// # Errors
    /// The error of the first server that could not be ended. All are tried.
    pub fn stop(mut self) -> Result<(), StackError> {
        self.end_all()
    }

    /// Asks all servers to end, then waits for each.
    fn end_all(&mut self) -> Result<(), StackError> {
        // All are asked before the first is waited for: they end at the same time.
        self.servers.iter_mut().for_each(StackServer::ask_to_end);
        let ended: Vec<_> = self.servers.iter_mut().map(StackServer::stop).collect();
        ended.into_iter().collect()
    }

    /// Finds a server by its name.
    fn named(&mut self, name: &str) -> Result<&mut StackServer, StackError> {
        self.servers
            .iter_mut()
            .find(|server| server.name() == name)
            .ok_or_else(|| StackError::Unknown(name.to_owned()))
    }
}

impl Drop for ServerStack {
    fn drop(&mut self) {
        // A failed test: its servers' logs are wanted afterwards.
        if std::thread::panicking()
            && let Some(temporary) = self.temporary.as_mut()
        {
            temporary.disable_cleanup(true);
            keep_for_reading(&self.root);
        }

        // Data that stays is left in good order. Servers of temporary data are killed.
        if self.temporary.is_none() {
            let _ = self.end_all();
        }

        // The servers end before their temporary folder goes.
        self.servers.clear();
    }
}

/// Starts servers at the same time: the nodes of a cluster are ready only together.
fn start_together(servers: &mut [StackServer]) -> Result<(), StackError> {
    std::thread::scope(|scope| {
        let started: Vec<_> = servers.iter_mut().map(|server| scope.spawn(|| server.start())).collect();
        started.into_iter().try_for_each(|start| start.join().unwrap_or_else(|_| Err(panicked())))
    })
}

/// Returns the error for a thread that panicked while it started a server. The panic itself is on stderr.
fn panicked() -> StackError {
    StackError::io("start a server")(std::io::Error::other("its thread panicked"))
}

/// Returns the plans of a kind of server that has one process and no proxy.
fn one((plan, address): (StackServerPlan, String)) -> Result<StackServerPlans, StackError> {
    Ok((vec![plan], address, Vec::new()))
}

/// Reports the folder of a failed test or start: its logs are wanted afterwards.
fn keep_for_reading(root: &Path) {
    eprintln!("sluice-stack: the servers' folder is kept for reading: {}", root.display());
}
