//! Lists, adds and deletes permissions through librdkafka's admin calls (KIP-140). The calls block. Each
//! waits for one answer on a queue of its own.

use std::collections::BTreeSet;
use std::ffi::{CString, c_char};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka_sys as sys;
use sluice_core::{AclOperation, AclResource, AclRule};

use super::client::{KafkaClientError, words};
use sys::rd_kafka_AclOperation_t as COperation;
use sys::rd_kafka_AclPermissionType_t as CPermission;
use sys::rd_kafka_ResourcePatternType_t as CPattern;
use sys::rd_kafka_ResourceType_t as CResource;

/// Builds the error for a name that librdkafka does not take.
fn unfit(text: impl ToString) -> KafkaClientError {
    let code = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG;
    KafkaClientError { text: text.to_string(), ..KafkaClientError::of(code) }
}

/// Returns all permissions. They are `ALLOW` only, and kinds of resources that we do not use are left out.
pub(crate) fn describe_acls<C: ClientContext>(
    client: &Client<C>,
    wait: Duration,
) -> Result<BTreeSet<AclRule>, KafkaClientError> {
    let filter = AclBindings::everything()?;
    let event =
        AclEvent::of(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBEACLS, wait, |call| {
            // SAFETY: all handles in `call` are live; the filter is copied before the call returns.
            unsafe { sys::rd_kafka_DescribeAcls(call.client, filter.0[0], call.options, call.queue) }
        })?;

    let mut found = BTreeSet::new();
    // SAFETY: the event is a DescribeAcls result, as its error code was checked and only that can be on the queue; the
    // array holds `count` bindings that live as long as the event.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_DescribeAcls_result(event.0.as_ptr());
        let acls = sys::rd_kafka_DescribeAcls_result_acls(result, &mut count);
        for index in 0..count {
            found.extend(read(*acls.add(index)));
        }
    }
    Ok(found)
}

/// Adds permissions. Those that exist already stay as they are.
pub(crate) fn create_acls<C: ClientContext>(
    client: &Client<C>,
    acls: &[AclRule],
    wait: Duration,
) -> Result<(), KafkaClientError> {
    let mut bindings = AclBindings::of(acls, sys::rd_kafka_AclBinding_new)?;
    let (all, count) = (bindings.0.as_mut_ptr(), bindings.0.len());

    let event = AclEvent::of(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATEACLS, wait, |call| {
        // SAFETY: all handles in `call` are live, `all` holds `count` live bindings, which are copied.
        unsafe { sys::rd_kafka_CreateAcls(call.client, all, count, call.options, call.queue) }
    })?;
    // SAFETY: the event is a CreateAcls result; its array and the errors in it live as long as the event.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_CreateAcls_result(event.0.as_ptr());
        let results = sys::rd_kafka_CreateAcls_result_acls(result, &mut count);
        (0..count).try_for_each(|index| check(sys::rd_kafka_acl_result_error(*results.add(index))))
    }
}

/// Takes permissions away. Those that are gone already stay gone.
pub(crate) fn delete_acls<C: ClientContext>(
    client: &Client<C>,
    acls: &[AclRule],
    wait: Duration,
) -> Result<(), KafkaClientError> {
    let mut filters = AclBindings::of(acls, sys::rd_kafka_AclBindingFilter_new)?;
    let (all, count) = (filters.0.as_mut_ptr(), filters.0.len());

    let event = AclEvent::of(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETEACLS, wait, |call| {
        // SAFETY: all handles in `call` are live, `all` holds `count` live filters, which are copied.
        unsafe { sys::rd_kafka_DeleteAcls(call.client, all, count, call.options, call.queue) }
    })?;
    // SAFETY: the event is a DeleteAcls result; its array and the errors in it live as long as the event.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_DeleteAcls_result(event.0.as_ptr());
        let responses = sys::rd_kafka_DeleteAcls_result_responses(result, &mut count);
        (0..count).try_for_each(|index| {
            check(sys::rd_kafka_DeleteAcls_result_response_error(*responses.add(index)))
        })
    }
}

/// The handles of one call.
struct AclCall {
    client: *mut sys::rd_kafka_t,
    options: *const sys::rd_kafka_AdminOptions_t,
    queue: *mut sys::rd_kafka_queue_t,
}

/// An answer. It is destroyed when dropped.
struct AclEvent(NonNull<sys::rd_kafka_event_t>);

impl AclEvent {
    /// Sends the request, and waits up to `wait` for the answer.
    fn of<C: ClientContext>(
        client: &Client<C>,
        operation: sys::rd_kafka_admin_op_t,
        wait: Duration,
        ask: impl FnOnce(&AclCall),
    ) -> Result<Self, KafkaClientError> {
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let mut buffer = [0 as c_char; 256];
        // SAFETY: the client outlives this function, in which queue and options are made, used and destroyed once. An
        // admin call copies its options. Destroying the queue with a call under way is allowed: the answer is dropped.
        let event = unsafe {
            let (rk, queue) = (client.native_ptr(), sys::rd_kafka_queue_new(client.native_ptr()));
            let options = sys::rd_kafka_AdminOptions_new(rk, operation);
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options,
                millis,
                buffer.as_mut_ptr(),
                buffer.len(),
            );
            ask(&AclCall { client: rk, options, queue });
            let event = sys::rd_kafka_queue_poll(queue, millis.saturating_add(1_000));
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_queue_destroy(queue);
            event
        };

        // The poll waits a second longer than the request: librdkafka's own time-out comes first, with its
        // reason.
        let Some(event) = NonNull::new(event).map(Self) else {
            return Err(KafkaClientError::of(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT));
        };
        // SAFETY: the event is live until `event` is dropped; its text is copied.
        let (code, text) = unsafe {
            let code = sys::rd_kafka_event_error(event.0.as_ptr());
            (code, words(sys::rd_kafka_event_error_string(event.0.as_ptr())))
        };

        // Errors of single permissions are in the answer; see `check`.
        match code {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(event),
            code => Err(KafkaClientError { text, ..KafkaClientError::of(code) }),
        }
    }
}

impl Drop for AclEvent {
    fn drop(&mut self) {
        // SAFETY: taken over from the queue, destroyed once.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

/// Bindings or filters. They are destroyed when dropped.
struct AclBindings(Vec<*mut sys::rd_kafka_AclBinding_t>);

/// librdkafka's constructor of a binding or of a filter: both have the same parameters.
type AclBindingConstructor = unsafe extern "C" fn(
    CResource,
    *const c_char,
    CPattern,
    *const c_char,
    *const c_char,
    COperation,
    CPermission,
    *mut c_char,
    usize,
) -> *mut sys::rd_kafka_AclBinding_t;

impl AclBindings {
    /// Makes one binding or filter, by `make`, for each permission.
    fn of(acls: &[AclRule], make: AclBindingConstructor) -> Result<Self, KafkaClientError> {
        let mut all = Self(Vec::with_capacity(acls.len()));
        for acl in acls {
            let pattern = if acl.prefixed {
                CPattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED
            } else {
                CPattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL
            };
            let (name, who) = (c_string(&acl.name)?, c_string(&acl.principal)?);
            let host = c_string(&acl.host)?;
            let (resource, operation) = (resource(acl.resource), operation(acl.operation));
            all.push(|buffer, length| {
                let (name, who, host) = (name.as_ptr(), who.as_ptr(), host.as_ptr());
                let allow = CPermission::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW;
                // SAFETY: three C strings that live during the call and are copied; `buffer` is `length` long.
                unsafe { make(resource, name, pattern, who, host, operation, allow, buffer, length) }
            })?;
        }
        Ok(all)
    }

    /// Makes one filter that fits every binding.
    fn everything() -> Result<Self, KafkaClientError> {
        let mut all = Self(Vec::with_capacity(1));
        let none = std::ptr::null();
        all.push(|buffer, length| {
            let (any, every) = (CResource::RD_KAFKA_RESOURCE_ANY, CPattern::RD_KAFKA_RESOURCE_PATTERN_ANY);
            let (operation, permission) =
                (COperation::RD_KAFKA_ACL_OPERATION_ANY, CPermission::RD_KAFKA_ACL_PERMISSION_TYPE_ANY);
            // SAFETY: a filter's names may be null; `buffer` is `length` long.
            unsafe {
                sys::rd_kafka_AclBindingFilter_new(
                    any, none, every, none, none, operation, permission, buffer, length,
                )
            }
        })?;
        Ok(all)
    }

    /// Makes one more binding; librdkafka writes its reason into the buffer if it refuses.
    fn push(
        &mut self,
        make: impl FnOnce(*mut c_char, usize) -> *mut sys::rd_kafka_AclBinding_t,
    ) -> Result<(), KafkaClientError> {
        let mut buffer = [0 as c_char; 256];
        let made = make(buffer.as_mut_ptr(), buffer.len());
        if made.is_null() {
            // SAFETY: librdkafka ended its words with a zero.
            return Err(unfit(unsafe { words(buffer.as_ptr()) }));
        }
        self.0.push(made);
        Ok(())
    }
}

impl Drop for AclBindings {
    fn drop(&mut self) {
        // SAFETY: each was made by librdkafka for us and is destroyed once; null never gets in.
        self.0.iter().for_each(|binding| unsafe { sys::rd_kafka_AclBinding_destroy(*binding) });
    }
}

/// Turns a name into a C string. A name with a zero byte is refused.
fn c_string(text: &str) -> Result<CString, KafkaClientError> {
    CString::new(text).map_err(unfit)
}

/// Turns librdkafka's error into ours; null is success.
///
/// # Safety
/// `error` is null or lives during the call.
unsafe fn check(error: *const sys::rd_kafka_error_t) -> Result<(), KafkaClientError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: by this function's contract; the string lives as long as the error and is copied.
    unsafe {
        let text = words(sys::rd_kafka_error_string(error));
        Err(KafkaClientError { text, ..KafkaClientError::of(sys::rd_kafka_error_code(error)) })
    }
}

/// Reads one permission as the brokers list it. `None` stands for a permission that denies, and for kinds
/// that we do not use.
///
/// # Safety
/// `binding` lives during the call.
unsafe fn read(binding: *const sys::rd_kafka_AclBinding_t) -> Option<AclRule> {
    // SAFETY: by this function's contract; librdkafka gives kinds that it does not know as UNKNOWN, so that every
    // enum is one of its own values; strings live as long as the binding and are copied.
    unsafe {
        if sys::rd_kafka_AclBinding_permission_type(binding)
            != CPermission::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW
        {
            return None;
        }

        let resource = match sys::rd_kafka_AclBinding_restype(binding) {
            CResource::RD_KAFKA_RESOURCE_TOPIC => AclResource::Topic,
            CResource::RD_KAFKA_RESOURCE_GROUP => AclResource::Group,
            CResource::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID => AclResource::TransactionalId,
            CResource::RD_KAFKA_RESOURCE_BROKER => AclResource::Cluster,
            // Other kinds, for example delegation tokens, are not ours to plan.
            _ => return None,
        };

        let operation = sys::rd_kafka_AclBinding_operation(binding);
        Some(AclRule {
            principal: words(sys::rd_kafka_AclBinding_principal(binding)),
            host: words(sys::rd_kafka_AclBinding_host(binding)),
            resource,
            name: words(sys::rd_kafka_AclBinding_name(binding)),
            prefixed: sys::rd_kafka_AclBinding_resource_pattern_type(binding)
                == CPattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
            operation: OPERATIONS.iter().find(|(_, theirs)| *theirs == operation)?.0,
        })
    }
}

/// Returns librdkafka's name of a kind of resource.
fn resource(resource: AclResource) -> CResource {
    match resource {
        AclResource::Topic => CResource::RD_KAFKA_RESOURCE_TOPIC,
        AclResource::Group => CResource::RD_KAFKA_RESOURCE_GROUP,
        AclResource::TransactionalId => CResource::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID,
        // librdkafka's name for the cluster: "Broker (Cluster)".
        AclResource::Cluster => CResource::RD_KAFKA_RESOURCE_BROKER,
    }
}

/// Returns librdkafka's name of an operation.
fn operation(operation: AclOperation) -> COperation {
    debug_assert!(OPERATIONS.iter().any(|(ours, _)| *ours == operation), "every operation is in the table");
    OPERATIONS
        .iter()
        .find(|(ours, _)| *ours == operation)
        .map_or(COperation::RD_KAFKA_ACL_OPERATION_UNKNOWN, |(_, theirs)| *theirs)
}

/// Our operations and librdkafka's names of them.
const OPERATIONS: [(AclOperation, COperation); 11] = [
    (AclOperation::All, COperation::RD_KAFKA_ACL_OPERATION_ALL),
    (AclOperation::Read, COperation::RD_KAFKA_ACL_OPERATION_READ),
    (AclOperation::Write, COperation::RD_KAFKA_ACL_OPERATION_WRITE),
    (AclOperation::Create, COperation::RD_KAFKA_ACL_OPERATION_CREATE),
    (AclOperation::Delete, COperation::RD_KAFKA_ACL_OPERATION_DELETE),
    (AclOperation::Alter, COperation::RD_KAFKA_ACL_OPERATION_ALTER),
    (AclOperation::Describe, COperation::RD_KAFKA_ACL_OPERATION_DESCRIBE),
    (AclOperation::ClusterAction, COperation::RD_KAFKA_ACL_OPERATION_CLUSTER_ACTION),
    (AclOperation::DescribeConfigs, COperation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS),
    (AclOperation::AlterConfigs, COperation::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS),
    (AclOperation::IdempotentWrite, COperation::RD_KAFKA_ACL_OPERATION_IDEMPOTENT_WRITE),
];
