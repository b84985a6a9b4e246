//! How many arenas the C library's allocator keeps.

/// Lets glibc keep two arenas, however many threads there are; elsewhere it does nothing. Call it before any thread is
/// started. An operator's `MALLOC_ARENA_MAX` is kept.
///
/// For sinks. By default it keeps eight per core. Records are allocated by librdkafka's threads and freed by the lane's,
/// columns the other way round, and what is free in one arena is of no use to another: a sink that caught up held a
/// third more than with two. Not for workers that produce: their lane would meet librdkafka's threads in one arena for
/// every record (2.3 against 1.6 CPU-seconds per million, `make bench-lane`). (`mallopt(3)`: M_ARENA_MAX is -8.)
pub fn limit_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        unsafe extern "C" {
            fn mallopt(parameter: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
        }
        const M_ARENA_MAX: std::ffi::c_int = -8;
        // SAFETY: glibc's function of that signature; it takes two numbers and locks what it changes.
        unsafe { mallopt(M_ARENA_MAX, 2) };
    }
}
