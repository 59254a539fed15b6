//! What takes too long for every change: thousands of damaged files, a two-hour source, hour-long and very large clips, a thousand clips.
//! Everything here is bounded in number and time and talks to this machine alone; `make soak` runs it.

mod alarm;
mod damage;
mod endurance;
mod memory;
mod reading;
