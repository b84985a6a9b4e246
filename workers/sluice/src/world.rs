//! The world that contracts are planned against: topics, permissions and subjects, looked at and changed.
//!
//! What is to be done is decided by `sluice_govern::plan`; here it is only carried out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use sluice_contract::CompatibilityLevel;
use sluice_core::{AclRule, Fault};
use sluice_govern::compatibility::SubjectVersion;
use sluice_govern::plan::{
    DesiredState, DesiredSubject, DesiredTopic, PlanChange, SubjectState, TopicState, WorldState, together,
};

use sluice_kafka::admin::KafkaAdmin;
use sluice_runtime::config::{KafkaSection, RegistrySection};
use sluice_runtime::registry::SchemaRegistry;

/// Calls to the registry at a time.
const AT_ONCE: usize = 16;
/// How long brokers may take to show new topics, and how often they are asked.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// Kafka and the registry, for administration.
pub(crate) struct ContractServers {
    admin: KafkaAdmin,
    registry: SchemaRegistry,
    replication: i32,
}

impl ContractServers {
    /// Clients; no call is made yet. New topics get `replication` copies.
    ///
    /// # Errors
    /// A [`Fault`] of the user if a section is wrong.
    pub(crate) fn new(
        kafka: &KafkaSection,
        registry: &RegistrySection,
        replication: i32,
    ) -> Result<Self, Fault> {
        let (admin, registry) = (KafkaAdmin::new(kafka)?, SchemaRegistry::new(registry)?);
        Ok(Self { admin, registry, replication })
    }

    /// Does the registry answer?
    ///
    /// # Errors
    /// A [`Fault`] if it does not.
    pub(crate) async fn ping(&self) -> Result<(), Fault> {
        self.registry.ping().await
    }

    /// What there is of what is desired.
    ///
    /// # Errors
    /// A [`Fault`] if a server does not answer.
    pub(crate) async fn look(&self, desired: &DesiredState) -> Result<WorldState, Fault> {
        let names: Vec<String> = desired.topics.iter().map(|topic| topic.name.clone()).collect();
        let mut world = WorldState { acls: self.admin.acls()?, ..WorldState::default() };
        for (name, topic) in self.admin.topics(&names).await? {
            let partitions = u32::try_from(topic.partitions).unwrap_or_default();
            world.topics.insert(name, TopicState { partitions, config: topic.config });
        }
        if self.registry.is_empty().await? {
            return Ok(world);
        }
        let asked = desired.subjects.iter();
        let mut states = stream::iter(asked.map(|subject| self.subject(subject))).buffer_unordered(AT_ONCE);
        while let Some(found) = states.next().await {
            let (name, state) = found?;
            world.subjects.insert(name, state);
        }
        drop(states);
        Ok(world)
    }

    /// A subject, and if the wanted schema is not registered under it, what is.
    async fn subject(&self, wanted: &DesiredSubject) -> Result<(String, SubjectState), Fault> {
        let (name, schema) = (&wanted.subject, &wanted.schema);
        let mut state = SubjectState {
            registered: self.registry.id_of(name, schema).await?.is_some(),
            compatibility: self
                .registry
                .compatibility(name)
                .await?
                .as_deref()
                .and_then(CompatibilityLevel::named),
            ..SubjectState::default()
        };
        state.has_versions = state.registered;
        if !state.registered {
            for number in self.registry.versions(name).await? {
                if let Some(schema) = self.registry.version(name, number).await? {
                    state.earlier.push(SubjectVersion { number, schema });
                }
            }
            state.has_versions = !state.earlier.is_empty();
            // The registry has the last word, but only at the level that it is to have: `apply` sets that first.
            let same_level = state.compatibility == Some(wanted.compatibility);
            if state.has_versions && same_level && !self.registry.accepts(name, schema).await? {
                state.incompatible.push("the registry does not take it after the versions it has".to_owned());
            }
        }
        Ok((name.clone(), state))
    }

    /// Carries the first of these changes out, and with it those that may go together with it; how many that were. On
    /// an error some of them may be done: repeating a change that was carried out changes nothing.
    ///
    /// # Errors
    /// A [`Fault`] with the server's reason.
    pub(crate) async fn carry_out(&self, changes: &[PlanChange]) -> Result<usize, Fault> {
        let count = together(changes);
        let batch = &changes[..count];
        let topics: Vec<&DesiredTopic> = batch
            .iter()
            .filter_map(
                |change| if let PlanChange::CreateTopic { topic } = change { Some(topic) } else { None },
            )
            .collect();
        let acls: Vec<AclRule> = batch
            .iter()
            .filter_map(
                |change| if let PlanChange::CreateAcl { acl } = change { Some(acl.clone()) } else { None },
            )
            .collect();
        if !topics.is_empty() {
            self.create_topics(&topics).await?;
        } else if !acls.is_empty() {
            self.admin.permit(&acls)?;
        } else {
            let calls = stream::iter(batch.iter().map(|change| self.carry_out_one(change)));
            calls.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        }
        Ok(count)
    }

    /// Waits until the brokers show the topics that these changes have made: the controller answers as soon as it has
    /// noted them down, and a broker that was given many takes its time. Asked once permissions are given: until then
    /// not everybody who may create a topic may see it.
    ///
    /// # Errors
    /// A [`Fault`] if they do not within a minute.
    pub(crate) async fn shown(&self, changes: &[PlanChange]) -> Result<(), Fault> {
        let created = changes.iter().filter_map(|change| match change {
            PlanChange::CreateTopic { topic } => Some(topic.name.clone()),
            _ => None,
        });
        let names: Vec<String> = created.collect();
        if names.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let missing = names.len() - self.admin.visible(&names)?.len();
            if missing == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                let why = format!("{missing} of {} are not shown after {PATIENCE:?}", names.len());
                return Err(Fault::outage("waiting for new topics", why));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn create_topics(&self, topics: &[&DesiredTopic]) -> Result<(), Fault> {
        let orders = topics.iter().map(|topic| (topic.name.as_str(), topic.partitions, &topic.config));
        self.admin.create_many(orders, self.replication).await
    }

    async fn carry_out_one(&self, change: &PlanChange) -> Result<(), Fault> {
        match change {
            PlanChange::CreateTopic { topic } => self.create_topics(&[topic]).await,
            PlanChange::RaisePartitions { topic, to, .. } => {
                self.admin.raise_partitions(topic, *to as usize).await
            }
            PlanChange::AlterConfig { topic, key, to, .. } => {
                // Kafka's older call replaces all settings at once, so the others are sent along.
                let mut own: BTreeMap<_, _> = self
                    .admin
                    .topics(std::slice::from_ref(topic))
                    .await?
                    .remove(topic)
                    .map(|state| state.own)
                    .unwrap_or_default();
                own.insert(key.clone(), to.clone());
                self.admin.set_config(topic, &own).await
            }
            PlanChange::CreateAcl { acl } => self.admin.permit(std::slice::from_ref(acl)),
            PlanChange::RemoveAcl { acl } => self.admin.forbid(std::slice::from_ref(acl)),
            PlanChange::SetCompatibility { subject, to, .. } => {
                self.registry.set_compatibility(subject, to.as_str()).await
            }
            PlanChange::RegisterSchema { subject, schema, .. } => {
                self.registry.register(subject, schema).await.map(|_| ())
            }
        }
    }
}
