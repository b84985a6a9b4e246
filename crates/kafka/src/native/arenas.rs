//! Limits the number of arenas that the C library's allocator keeps.

/// Limits glibc to two arenas, whatever the number of threads. Without glibc the call does nothing. Call it
/// before any thread is started. An operator's `MALLOC_ARENA_MAX` is kept.
///
/// This is for sinks. By default glibc keeps eight arenas per core. librdkafka's threads allocate records and
/// the lane's thread frees them; with columns it is the other way round. Free memory of one arena is of no
/// use to another: a sink that caught up held a third more than with two arenas.
///
/// It is not for workers that produce. Their lane would meet librdkafka's threads in one arena for every
/// record (2.3 against 1.6 CPU-seconds per million, `make bench-lane`). (`mallopt(3)`: M_ARENA_MAX is -8.)
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
