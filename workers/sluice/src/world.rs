//! Reads and changes the world that contracts are planned against: topics, permissions and subjects.
//!
//! `sluice_govern::plan` decides about the changes. Here they are only carried out.

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
/// The time in which brokers must show new topics.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two looks at the new topics.
const LOOK: Duration = Duration::from_millis(50);

/// Kafka and the registry, for administration.
pub(crate) struct ContractServers {
    admin: KafkaAdmin,
    registry: SchemaRegistry,
}

impl ContractServers {
    /// Makes the clients, without a call.
    ///
    /// # Errors
    /// Fails with a [`Fault`] of the user if a section is wrong.
    pub(crate) fn new(kafka: &KafkaSection, registry: &RegistrySection) -> Result<Self, Fault> {
        let (admin, registry) = (KafkaAdmin::new(kafka)?, SchemaRegistry::new(registry)?);
        Ok(Self { admin, registry })
    }

    /// Checks that the registry answers.
    ///
    /// # Errors
    /// Fails with a [`Fault`] if it does not.
    pub(crate) async fn ping(&self) -> Result<(), Fault> {
        self.registry.ping().await
    }

    /// Reads the present state of the desired topics and subjects, and all permissions.
    ///
    /// # Errors
    /// Fails with a [`Fault`] if a server does not answer.
    pub(crate) async fn look(&self, desired: &DesiredState) -> Result<WorldState, Fault> {
        // Permissions are read in full: the plan also names those that no contract or worker asks for.
        let names: Vec<String> = desired.topics.iter().map(|topic| topic.name.clone()).collect();
        let mut world = WorldState { acls: self.admin.acls()?, ..WorldState::default() };
        for (name, topic) in self.admin.topics(&names).await? {
            let partitions = u32::try_from(topic.partitions);
            debug_assert!(partitions.is_ok(), "Kafka's protocol numbers partitions with 32 bits");
            let partitions = partitions.unwrap_or_default();
            let copies = u32::try_from(topic.copies).unwrap_or(u32::MAX);
            world.topics.insert(name, TopicState { partitions, copies, config: topic.config });
        }

        // A new installation has no subjects, and several calls for each are saved.
        if self.registry.is_empty().await? {
            return Ok(world);
        }

        // Each subject needs several calls. They run side by side.
        let asked = desired.subjects.iter();
        let mut states = stream::iter(asked.map(|subject| self.subject(subject))).buffer_unordered(AT_ONCE);
        while let Some(found) = states.next().await {
            let (name, state) = found?;
            world.subjects.insert(name, state);
        }
        drop(states);
        Ok(world)
    }

    /// Reads a subject. If the wanted schema is not registered under it, its versions are read too.
    async fn subject(&self, wanted: &DesiredSubject) -> Result<(String, SubjectState), Fault> {
        // The registry looks the schema up by its content.
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

        // The plan checks the compatibility with the earlier versions itself, for a message that names the
        // field.
        if !state.registered {
            for number in self.registry.versions(name).await? {
                if let Some(schema) = self.registry.version(name, number).await? {
                    state.earlier.push(SubjectVersion { number, schema });
                }
            }
            state.has_versions = !state.earlier.is_empty();

            // The registry has the last word. But it is asked only if it already has the contract's
            // compatibility level, because `apply` sets the level first.
            let same_level = state.compatibility == Some(wanted.compatibility);
            if state.has_versions && same_level && !self.registry.accepts(name, schema).await? {
                state
                    .incompatible
                    .push("the registry refuses it as the next version of the subject".to_owned());
            }
        }
        Ok((name.clone(), state))
    }

    /// Carries out the first of these changes, together with those that may go with it, and returns their
    /// number. On an error some of them may be done. A change that was carried out can be repeated and
    /// changes nothing then.
    ///
    /// # Errors
    /// Fails with a [`Fault`] that has the server's reason.
    pub(crate) async fn carry_out(&self, changes: &[PlanChange]) -> Result<usize, Fault> {
        // Changes of one batch are all of one kind.
        let count = together(changes);
        let batch = &changes[..count];
        let topics: Vec<&DesiredTopic> = batch
            .iter()
            .filter_map(
                |change| if let PlanChange::CreateTopic { topic, .. } = change { Some(topic) } else { None },
            )
            .collect();
        let acls: Vec<AclRule> = batch
            .iter()
            .filter_map(
                |change| if let PlanChange::CreateAcl { acl } = change { Some(acl.clone()) } else { None },
            )
            .collect();

        // Topics and permissions go to Kafka in one call. Each other change is a call of its own.
        if let Some(PlanChange::CreateTopic { copies, .. }) = batch.first() {
            self.create_topics(&topics, *copies).await?;
        } else if !acls.is_empty() {
            self.admin.permit(&acls)?;
        } else {
            let calls = stream::iter(batch.iter().map(|change| self.carry_out_one(change)));
            calls.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        }
        Ok(count)
    }

    /// Waits until the brokers show the topics that these changes have made. The controller answers as soon
    /// as it has noted them down, and a broker that gets many of them needs some time. Call it after the
    /// permissions are given: a principal that may create a topic may need another permission to see it.
    ///
    /// # Errors
    /// Fails with an outage if a topic is not shown within a minute.
    pub(crate) async fn shown(&self, changes: &[PlanChange]) -> Result<(), Fault> {
        let created = changes.iter().filter_map(|change| match change {
            PlanChange::CreateTopic { topic, .. } => Some(topic.name.clone()),
            _ => None,
        });
        let names: Vec<String> = created.collect();
        if names.is_empty() {
            return Ok(());
        }

        // The topics are looked at again until all are shown.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let missing = names.len() - self.admin.visible(&names)?.len();
            if missing == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                let why = format!(
                    "{missing} of {} topics are not shown by the brokers after {PATIENCE:?}",
                    names.len()
                );
                return Err(Fault::outage("waiting for new topics", why));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Creates topics with this number of copies in one call. One that exists stays as it is.
    async fn create_topics(&self, topics: &[&DesiredTopic], copies: u32) -> Result<(), Fault> {
        let orders = topics.iter().map(|topic| (topic.name.as_str(), topic.partitions, &topic.config));
        // The configuration allows nine copies at most.
        self.admin.create_many(orders, i32::try_from(copies).unwrap_or(i32::MAX)).await
    }

    /// Carries out one change.
    async fn carry_out_one(&self, change: &PlanChange) -> Result<(), Fault> {
        match change {
            // Topics.
            PlanChange::CreateTopic { topic, copies } => self.create_topics(&[topic], *copies).await,
            PlanChange::RaisePartitions { topic, to, .. } => {
                self.admin.raise_partitions(topic, *to as usize).await
            }
            PlanChange::AlterConfig { topic, key, to, .. } => {
                // Kafka's older call replaces all settings at once. The topic's other settings are sent with
                // it.
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

            // Permissions.
            PlanChange::CreateAcl { acl } => self.admin.permit(std::slice::from_ref(acl)),
            PlanChange::RemoveAcl { acl } => self.admin.forbid(std::slice::from_ref(acl)),

            // Subjects.
            PlanChange::SetCompatibility { subject, to, .. } => {
                self.registry.set_compatibility(subject, to.as_str()).await
            }
            PlanChange::RegisterSchema { subject, schema, .. } => {
                self.registry.register(subject, schema).await.map(|_| ())
            }
        }
    }
}
