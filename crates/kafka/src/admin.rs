//! Describes topics and permissions, and makes the few changes that `apply` asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;
use sluice_core::Fault;
use sluice_core::{AclOperation, AclResource, AclRule};

use super::native::{self, KafkaClientError, SaslTokenClient};
use super::settings;
use crate::KafkaSection;

/// The longest wait for one answer.
const CALL: Duration = Duration::from_secs(15);

/// A topic as the brokers describe it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicDescription {
    /// Number of partitions.
    pub partitions: i32,
    /// Copies of the partition that has the fewest.
    pub copies: usize,
    /// Every setting, the brokers' defaults included.
    pub config: BTreeMap<String, String>,
    /// The settings that were made for this topic.
    pub own: BTreeMap<String, String>,
}

/// The client for the cluster's administration.
pub struct KafkaAdmin {
    client: SaslTokenClient<AdminClient<DefaultClientContext>>,
}

impl KafkaAdmin {
    /// Builds a client. No call is made yet.
    ///
    /// # Errors
    /// A [`Fault`] of the user if a property is wrong.
    pub fn new(kafka: &KafkaSection) -> Result<Self, Fault> {
        let client: AdminClient<DefaultClientContext> = settings::plain(kafka)?
            .create()
            .map_err(|error| settings::refused("building a Kafka admin client", error))?;
        Ok(Self { client: SaslTokenClient::new(settings::tokens(kafka)?, client) })
    }

    /// Returns the number of brokers that answer.
    ///
    /// # Errors
    /// A [`Fault`] if none does.
    pub fn brokers(&self) -> Result<usize, Fault> {
        let metadata = self.client.inner().fetch_metadata(None, Duration::from_secs(5));
        metadata
            .map(|metadata| metadata.brokers().len())
            .map_err(|error| Fault::outage("asking Kafka for its brokers", error))
    }

    /// Returns those of `names` that exist and that we may at least describe.
    ///
    /// # Errors
    /// A [`Fault`] if Kafka does not answer.
    pub fn visible(&self, names: &[String]) -> Result<BTreeSet<String>, Fault> {
        // The metadata of all topics: brokers leave out topics that we may not describe.
        let metadata = self.client.inner().fetch_metadata(None, CALL);
        let metadata = metadata.map_err(|error| Fault::outage("asking Kafka for its topics", error))?;
        let there = metadata.topics().iter().filter(|topic| topic.error().is_none());
        Ok(there.map(|topic| topic.name().to_owned()).filter(|name| names.contains(name)).collect())
    }

    /// Returns all permissions; `None` if the brokers have no authoriser.
    ///
    /// # Errors
    /// A [`Fault`] if Kafka does not answer or denies the look at permissions.
    pub fn acls(&self) -> Result<Option<BTreeSet<AclRule>>, Fault> {
        let found = native::describe_acls(self.client.inner(), CALL)
            .map_err(|error| refused("asking Kafka for its permissions", error))?;
        if !found.is_empty() {
            return Ok(Some(found));
        }

        // librdkafka (2.12) drops the error of this answer. A cluster without an authoriser, or a client
        // without the right to look, then seems to have no permissions. To delete a permission that does not
        // exist gets a full answer, and changes nothing.
        let absent = AclRule {
            principal: "User:sluice-nobody".to_owned(), // house: data
            host: "*".to_owned(),
            resource: AclResource::Topic,
            name: "sluice-nothing".to_owned(),
            prefixed: false,
            operation: AclOperation::Read,
        };

        match native::delete_acls(self.client.inner(), &[absent], CALL) {
            Ok(()) => Ok(Some(found)),
            Err(KafkaClientError { code: RDKafkaErrorCode::SecurityDisabled, .. }) => Ok(None),
            Err(error) => Err(refused("asking Kafka for its permissions", error)),
        }
    }

    /// Adds permissions. Those that exist already stay.
    ///
    /// # Errors
    /// A [`Fault`] with the broker's reason.
    pub fn permit(&self, acls: &[AclRule]) -> Result<(), Fault> {
        native::create_acls(self.client.inner(), acls, CALL)
            .map_err(|error| refused("adding permissions", error))
    }

    /// Takes permissions away. Those that are gone already stay gone.
    ///
    /// # Errors
    /// A [`Fault`] with the broker's reason.
    pub fn forbid(&self, acls: &[AclRule]) -> Result<(), Fault> {
        native::delete_acls(self.client.inner(), acls, CALL)
            .map_err(|error| refused("taking permissions away", error))
    }

    /// Returns those of `names` that exist and that we may see, with the number of their partitions.
    ///
    /// # Errors
    /// A [`Fault`] if Kafka does not answer.
    pub fn there(&self, names: &[String]) -> Result<BTreeMap<String, i32>, Fault> {
        let metadata = self.client.inner().fetch_metadata(None, CALL);
        let metadata = metadata.map_err(|error| Fault::outage("asking Kafka for its topics", error))?;
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();

        let found = metadata.topics().iter();
        let found = found.filter(|topic| topic.error().is_none() && names.contains(topic.name()));
        Ok(found
            .map(|topic| {
                (topic.name().to_owned(), i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX))
            })
            .collect())
    }

    /// Returns the same topics with their settings. This needs the permission to describe their settings.
    ///
    /// # Errors
    /// A [`Fault`] if Kafka does not answer.
    pub async fn topics(&self, names: &[String]) -> Result<BTreeMap<String, TopicDescription>, Fault> {
        let outage = |error| Fault::outage("asking Kafka for the settings of topics", error);

        // First the topics that exist: a question about a missing topic is an error.
        let metadata = self.client.inner().fetch_metadata(None, CALL);
        let metadata = metadata.map_err(|error| Fault::outage("asking Kafka for its topics", error))?;
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let there = metadata.topics().iter();
        let there = there.filter(|topic| topic.error().is_none() && names.contains(topic.name()));
        let mut found: BTreeMap<String, TopicDescription> =
            there.map(|topic| (topic.name().to_owned(), without_settings(topic))).collect();

        let resources: Vec<String> = found.keys().cloned().collect();
        if resources.is_empty() {
            return Ok(found);
        }

        // One call for the settings of all topics; the answers come in the order of the questions.
        let specifiers: Vec<_> = resources.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let described = self.client.describe_configs(&specifiers, &options()).await.map_err(outage)?;

        for (name, described) in resources.iter().zip(described) {
            let described = described
                .map_err(|code| Fault::outage(format!("asking for the settings of {name}"), code))?;

            // Defaults of the brokers are among the settings. Only those of the topic itself count as its
            // own.
            debug_assert!(found.contains_key(name), "the names are the keys of `found`");
            if let Some(topic) = found.get_mut(name) {
                for entry in &described.entries {
                    let Some(value) = &entry.value else { continue };
                    topic.config.insert(entry.name.clone(), value.clone());
                    if entry.source == ConfigSource::DynamicTopic {
                        topic.own.insert(entry.name.clone(), value.clone());
                    }
                }
            }
        }
        Ok(found)
    }

    /// Creates a topic. A topic that exists already is left as it is.
    ///
    /// # Errors
    /// A [`Fault`] with the broker's reason.
    pub async fn create(
        &self,
        name: &str,
        partitions: i32,
        replication: i32,
        config: &BTreeMap<String, String>,
    ) -> Result<(), Fault> {
        self.create_all(vec![new_topic(name, partitions, replication, config)]).await
    }

    /// Creates several topics by one call. Each has a name, a number of partitions and settings.
    ///
    /// # Errors
    /// A [`Fault`] with the broker's reason. Other topics of the call may have been created.
    pub async fn create_many(
        &self,
        topics: impl IntoIterator<Item = (&str, u32, &BTreeMap<String, String>)>,
        replication: i32,
    ) -> Result<(), Fault> {
        let new = topics.into_iter().map(|(name, partitions, config)| {
            new_topic(name, i32::try_from(partitions).unwrap_or(i32::MAX), replication, config)
        });
        self.create_all(new.collect()).await
    }

    /// Sends one request for all topics. Existing topics are no error.
    async fn create_all(&self, topics: Vec<NewTopic<'_>>) -> Result<(), Fault> {
        let made = self.client.create_topics(&topics, &options()).await.map_err(|error| {
            let names: Vec<&str> = topics.iter().map(|topic| topic.name).collect();
            Fault::outage(format!("creating {}", names.join(", ")), error)
        })?;

        // A repeated `apply`, or another one at the same time, may have created the topic.
        let mut refused = made.into_iter().filter_map(Result::err);
        match refused.find(|(_, code)| *code != RDKafkaErrorCode::TopicAlreadyExists) {
            Some((name, code)) => Err(Fault::user(format!("creating topic {name}"), code)),
            None => Ok(()),
        }
    }

    /// Raises the number of partitions of a topic to `to`.
    ///
    /// # Errors
    /// A [`Fault`] with the broker's reason.
    pub async fn raise_partitions(&self, name: &str, to: usize) -> Result<(), Fault> {
        let doing = format!("raising the partitions of {name}");
        let wanted = NewPartitions::new(name, to);
        let made = self
            .client
            .create_partitions([&wanted], &options())
            .await
            .map_err(|error| Fault::outage(doing.clone(), error))?;
        one(made, &doing)
    }

    /// Sets all settings of a topic. Settings that are not named go back to the brokers' defaults: give the
    /// whole map.
    ///
    /// # Errors
    /// A [`Fault`] with the broker's reason.
    pub async fn set_config(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), Fault> {
        let doing = format!("changing the settings of {name}");

        let mut wanted = AlterConfig::new(ResourceSpecifier::Topic(name));
        for (key, value) in config {
            wanted = wanted.set(key, value);
        }

        let made = self
            .client
            .alter_configs([&wanted], &options())
            .await
            .map_err(|error| Fault::outage(doing.clone(), error))?;

        // `one` reads the code of a refusal only, which makes the names superfluous.
        one(
            made.into_iter()
                .map(|result| result.map(|_| String::new()).map_err(|(_, code)| (String::new(), code)))
                .collect(),
            &doing,
        )
    }
}

/// Describes a topic without its settings, which metadata do not have.
fn without_settings(topic: &MetadataTopic) -> TopicDescription {
    let partitions = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
    let copies = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
    TopicDescription { partitions, copies: copies.unwrap_or_default(), ..TopicDescription::default() }
}

/// Builds the request for one topic.
fn new_topic<'a>(
    name: &'a str,
    partitions: i32,
    replication: i32,
    config: &'a BTreeMap<String, String>,
) -> NewTopic<'a> {
    let new = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
    config.iter().fold(new, |new, (key, value)| new.set(key, value))
}

/// Turns an error into a fault. Denied access and wrong arguments are the operator's to mend; anything else
/// may pass.
fn refused(doing: &str, error: KafkaClientError) -> Fault {
    match error.code {
        RDKafkaErrorCode::ClusterAuthorizationFailed | RDKafkaErrorCode::InvalidArgument => {
            Fault::user(doing, error)
        }
        _ => Fault::outage(doing, error),
    }
}

/// Returns the time limits of all calls: [`CALL`] for the request and for the operation on the brokers.
fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(CALL)).operation_timeout(Some(CALL))
}

/// Turns the first refusal among the results of one call into a fault of the user.
fn one(results: Vec<Result<String, (String, RDKafkaErrorCode)>>, doing: &str) -> Result<(), Fault> {
    match results.into_iter().find_map(Result::err) {
        Some((_, code)) => Err(Fault::user(doing.to_owned(), code)),
        None => Ok(()),
    }
}
