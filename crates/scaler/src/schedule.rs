//! A minimum number of workers by the hour, for times at which no clip should wait for a cold start.

use std::str::FromStr;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MS: i64 = 24 * 3_600_000;
const MINUTE_MS: i64 = 60_000;

/// Periods of the week with a minimum each, in UTC: `mon-fri 07:00-19:00=1; sat 09:00-12:00=1`. Empty: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule(Vec<Period>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Period {
    /// First and last day, both included; 0 is Monday.
    days: (usize, usize),
    /// Start and end in minutes of the day, the end excluded.
    minutes: (i64, i64),
    count: u32,
}

impl Schedule {
    /// The minimum at a Unix time in milliseconds: the largest of the periods that contain it.
    pub fn minimum(&self, now_ms: i64) -> u32 {
        // 1 January 1970 was a Thursday.
        let day = (now_ms.div_euclid(DAY_MS) + 3).rem_euclid(7) as usize;
        let minute = now_ms.rem_euclid(DAY_MS) / MINUTE_MS;
        let contains = |period: &&Period| {
            let (first, last) = period.days;
            let today = if first <= last { (first..=last).contains(&day) } else { day >= first || day <= last };
            today && (period.minutes.0..period.minutes.1).contains(&minute)
        };
        self.0.iter().filter(contains).map(|period| period.count).max().unwrap_or(0)
    }

    /// The largest minimum of the week.
    pub fn max_workers(&self) -> u32 {
        self.0.iter().map(|period| period.count).max().unwrap_or(0)
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(period).collect::<Result<_, _>>().map(Self)
    }
}

fn period(text: &str) -> Result<Period, String> {
    let wrong = |what: &str| format!("must be such as `mon-fri 07:00-19:00=1` (UTC): {what}, got {text:?}");
    let (when, count) = text.split_once('=').ok_or_else(|| wrong("a count is missing"))?;
    let count = count.trim().parse().map_err(|_| wrong("the count is no number"))?;
    let (days, times) = when.trim().split_once(' ').ok_or_else(|| wrong("days and times are missing"))?;
    let day = |name: &str| DAYS.iter().position(|known| *known == name).ok_or_else(|| wrong("a day is not known"));
    let (first, last) = days.split_once('-').unwrap_or((days, days));
    let (from, to) = times.trim().split_once('-').ok_or_else(|| wrong("an end is missing"))?;
    let minutes =
        (minute(from).ok_or_else(|| wrong("a time is none"))?, minute(to).ok_or_else(|| wrong("a time is none"))?);
    if minutes.0 >= minutes.1 {
        return Err(wrong("it ends before it begins; give two periods around midnight"));
    }
    Ok(Period { days: (day(first)?, day(last)?), minutes, count })
}

fn minute(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let total = hours * 60 + minutes;
    ((0..60).contains(&minutes) && (0..=24 * 60).contains(&total)).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thursday, 26 November 2026, 00:00 UTC.
    const THURSDAY: i64 = 1_795_651_200_000;
    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_minimum_holds_on_its_days_and_between_its_times() {
        let schedule: Schedule = "mon-fri 07:00-19:00=2; sat 09:00-24:00=1; sun-mon 00:00-01:00=3".parse().unwrap();
        let at = |days: i64, hours: i64| schedule.minimum(THURSDAY + (days * 24 + hours) * HOUR);
        assert_eq!([at(0, 6), at(0, 7), at(0, 18), at(0, 19)], [0, 2, 2, 0]);
        assert_eq!([at(2, 8), at(2, 23), at(3, 0), at(3, 7), at(4, 0), at(4, 7)], [0, 1, 3, 0, 3, 2]);
        assert_eq!(schedule.max_workers(), 3);
        assert_eq!(Schedule::default().minimum(THURSDAY), 0);
        assert_eq!("".parse(), Ok(Schedule::default()));
    }

    #[test]
    fn an_invalid_period_is_refused_with_its_reason() {
        for (text, reason) in [
            ("mon-fri 07:00-19:00", "a count is missing"),
            ("mon 07:00-19:00=x", "no number"),
            ("day 07:00-19:00=1", "a day is not known"),
            ("mon 19:00-07:00=1", "ends before it begins"),
            ("mon 7-19=1", "a time is none"),
            ("mon 07:00-25:00=1", "a time is none"),
            ("mon=1", "days and times"),
        ] {
            let error = text.parse::<Schedule>().unwrap_err();
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
    }
}
