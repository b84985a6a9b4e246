//! The world that contracts are planned against: topics, permissions and subjects, looked at and changed.
//!
//! What is to be done is decided by `sluice_contract::plan`; here it is only carried out.

use std::collections::BTreeMap;

use sluice_contract::Compatibility;
use sluice_contract::plan::{Acl, Change, Desired, SubjectState, TopicState, World};
use sluice_core::Fault;

use crate::config::{KafkaSection, RegistrySection};
use crate::kafka;
use crate::kafka::admin::Admin;
use crate::registry::Registry;

/// Kafka and the registry, for administration.
pub struct Servers {
    kafka: KafkaSection,
    admin: Admin,
    registry: Registry,
    replication: i32,
}

impl Servers {
    /// Clients; no call is made yet. New topics get `replication` copies.
    ///
    /// # Errors
    /// A [`Fault`] of the user if a section is wrong.
    pub fn new(kafka: &KafkaSection, registry: &RegistrySection, replication: i32) -> Result<Self, Fault> {
        let (admin, registry) = (Admin::new(kafka)?, Registry::new(registry)?);
        Ok(Self { kafka: kafka.clone(), admin, registry, replication })
    }

    /// Do both answer?
    ///
    /// # Errors
    /// A [`Fault`] that says which does not.
    pub async fn ping(&self) -> Result<(), Fault> {
        kafka::knock(&self.kafka)?;
        self.registry.ping().await
    }

    /// What there is of what is desired.
    ///
    /// # Errors
    /// A [`Fault`] if a server does not answer.
    pub async fn look(&self, desired: &Desired) -> Result<World, Fault> {
        let names: Vec<String> = desired.topics.iter().map(|topic| topic.name.clone()).collect();
        let mut world = World { acls: self.admin.acls()?, ..World::default() };
        for (name, topic) in self.admin.topics(&names).await? {
            let partitions = u32::try_from(topic.partitions).unwrap_or_default();
            world.topics.insert(name, TopicState { partitions, config: topic.config });
        }
        for subject in &desired.subjects {
            let name = &subject.subject;
            let has_versions = self.registry.latest(name).await?.is_some();
            let registered = has_versions && self.registry.id_of(name, &subject.schema).await?.is_some();
            let compatibility =
                self.registry.compatibility(name).await?.as_deref().and_then(Compatibility::named);
            let incompatible = if has_versions
                && !registered
                && !self.registry.accepts(name, &subject.schema).await?
            {
                vec![format!("an earlier version and this one do not fit at level {}", subject.compatibility)]
            } else {
                vec![]
            };
            world
                .subjects
                .insert(name.clone(), SubjectState { registered, has_versions, compatibility, incompatible });
        }
        Ok(world)
    }

    /// Adds many permissions by one call; as [`Servers::carry_out`] of each.
    ///
    /// # Errors
    /// A [`Fault`] with the broker's reason.
    pub fn permit(&self, acls: &[Acl]) -> Result<(), Fault> {
        self.admin.permit(acls)
    }

    /// Carries one change out. Repeating one that was carried out changes nothing.
    ///
    /// # Errors
    /// A [`Fault`] with the server's reason.
    pub async fn carry_out(&self, change: &Change) -> Result<(), Fault> {
        match change {
            Change::CreateTopic { topic } => {
                let partitions = i32::try_from(topic.partitions).unwrap_or(i32::MAX);
                self.admin.create(&topic.name, partitions, self.replication, &topic.config).await
            }
            Change::RaisePartitions { topic, to, .. } => {
                self.admin.raise_partitions(topic, *to as usize).await
            }
            Change::AlterConfig { topic, key, to, .. } => {
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
            Change::CreateAcl { acl } => self.admin.permit(std::slice::from_ref(acl)),
            Change::RemoveAcl { acl } => self.admin.forbid(std::slice::from_ref(acl)),
            Change::SetCompatibility { subject, to, .. } => {
                self.registry.set_compatibility(subject, to.as_str()).await
            }
            Change::RegisterSchema { subject, schema, .. } => {
                self.registry.register(subject, schema).await.map(|_| ())
            }
        }
    }
}
