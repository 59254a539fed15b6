//! Locks that survive a panic of their holder: every critical section here leaves its data whole, so poison says nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever became of the last holder.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
