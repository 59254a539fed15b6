//! Edit lists: which part of a track is shown when (ISO/IEC 14496-12, 8.6.6). Pure arithmetic.
//!
//! A track has a time line of its own, the *media* time of its samples. The file's time line, which players show and clips
//! count on, is the *movie* time. An edit list joins the two: each entry shows a stretch of media for some time, and an empty
//! entry shows nothing. Files that were cut without encoding again have one, and so have most files with B-frames or AAC,
//! whose first entry skips what a decoder needs before the first sample.
//!
//! GStreamer's demuxer applies edit lists, but ends a track early where an entry leaves out media at its head. It therefore
//! gets the file without them (see [`crate::header`]), and the times are mapped here.

/// One entry that shows media. Times are nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// When it begins on the file's time line.
    pub movie_ns: i64,
    /// Where its media begins in the track.
    pub media_ns: i64,
    /// How long it lasts; `None` for the rest of the track.
    pub length_ns: Option<i64>,
}

impl Edit {
    fn movie_end(&self) -> i64 {
        self.length_ns.map_or(i64::MAX, |length| self.movie_ns.saturating_add(length))
    }

    fn media_end(&self) -> i64 {
        self.length_ns.map_or(i64::MAX, |length| self.media_ns.saturating_add(length))
    }

    fn movie_time(&self, media_ns: i64) -> i64 {
        media_ns - self.media_ns + self.movie_ns
    }
}

/// Where a sample lies on the file's time line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It is presented at this time, or would be: what lies before the first entry counts on, backwards.
    At(i64),
    /// No entry shows it, but later ones may be shown.
    CutOut,
    /// It lies behind the last entry.
    Behind,
}

/// Part of a piece of sound that is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// When it is heard on the file's time line, nanoseconds.
    pub movie_ns: i64,
    /// What of the piece lies before it, nanoseconds.
    pub skip_ns: i64,
    /// How much of it is heard, nanoseconds.
    pub length_ns: i64,
}

/// The entries of one track that show media, in the order of the movie. Without any, the track is shown as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EditList(Vec<Edit>);

/// A clip crosses a place at which the edit list goes back in its media, nanoseconds on the file's time line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoesBack(pub i64);

impl EditList {
    /// No list.
    pub const NONE: Self = Self(Vec::new());

    /// The list of a track. Entries are in the order of the movie.
    pub fn new(edits: Vec<Edit>) -> Self {
        Self(edits)
    }

    /// The same, reduced to what a clip from `start_ns` to `end_ns` of the movie shows. Media is read in one direction, so a clip
    /// across a place that goes back is refused.
    pub fn within(&self, start_ns: i64, end_ns: i64) -> Result<Self, GoesBack> {
        let overlapping = |edit: &&Edit| edit.movie_ns < end_ns && edit.movie_end() > start_ns;
        let mut kept: Vec<Edit> = self.0.iter().filter(overlapping).copied().collect();
        if kept.is_empty() {
            // The clip lies in a pause, or outside: what comes next, or last, says how the times go on.
            let next = self.0.iter().find(|edit| edit.movie_ns >= end_ns).or(self.0.last());
            kept.extend(next);
        }
        match kept.windows(2).find(|pair| pair[1].media_ns < pair[0].media_end()) {
            Some(pair) => Err(GoesBack(pair[1].movie_ns)),
            None => Ok(Self(kept)),
        }
    }

    /// Where a sample at `media_ns` of the track lies on the file's time line.
    pub fn place(&self, media_ns: i64) -> Placed {
        let Some(first) = self.0.first() else { return Placed::At(media_ns) };
        if media_ns < first.media_ns {
            return Placed::At(first.movie_time(media_ns));
        }
        match self.0.iter().find(|edit| (edit.media_ns..edit.media_end()).contains(&media_ns)) {
            Some(edit) => Placed::At(edit.movie_time(media_ns)),
            None if self.0.last().is_some_and(|last| media_ns >= last.media_end()) => Placed::Behind,
            None => Placed::CutOut,
        }
    }

    /// The parts of a piece of sound that are heard, and whether the piece reaches behind the last entry.
    pub fn hear(&self, media_ns: i64, length_ns: i64) -> (Vec<Heard>, bool) {
        let Some((first, last)) = self.0.first().zip(self.0.last()) else {
            return (vec![Heard { movie_ns: media_ns, skip_ns: 0, length_ns }], false);
        };
        let end_ns = media_ns + length_ns;
        let part = |edit: &Edit| {
            // What lies before the first entry is heard by nobody, but says where the sound before a clip is.
            let begin = if edit == first { media_ns } else { media_ns.max(edit.media_ns) };
            let length_ns = end_ns.min(edit.media_end()) - begin;
            let heard = Heard { movie_ns: edit.movie_time(begin), skip_ns: begin - media_ns, length_ns };
            (length_ns > 0).then_some(heard)
        };
        (self.0.iter().filter_map(part).collect(), end_ns > last.media_end())
    }

    /// The media time at which reading must begin so that the movie can be shown from `movie_ns` on.
    pub fn media_time(&self, movie_ns: i64) -> i64 {
        let Some(first) = self.0.first() else { return movie_ns };
        let entry = self.0.iter().rev().find(|edit| edit.movie_ns <= movie_ns).unwrap_or(first);
        (movie_ns - entry.movie_ns + entry.media_ns).min(entry.media_end())
    }

    /// When a track whose media ends at `media_end_ns` is over on the file's time line.
    pub fn movie_end(&self, media_end_ns: i64) -> i64 {
        let end = |edit: &Edit| edit.movie_end().min(edit.movie_time(media_end_ns));
        self.0.iter().map(end).max().unwrap_or(media_end_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn list(edits: &[(i64, i64, Option<i64>)]) -> EditList {
        let edit = |(movie, media, length): &(i64, i64, Option<i64>)| Edit {
            movie_ns: movie * S,
            media_ns: media * S,
            length_ns: length.map(|length| length * S),
        };
        EditList::new(edits.iter().map(edit).collect())
    }

    #[test]
    fn a_track_without_a_list_is_shown_as_it_is() {
        let none = EditList::default();
        assert_eq!(none.place(7 * S), Placed::At(7 * S));
        assert_eq!((none.media_time(7 * S), none.movie_end(9 * S)), (7 * S, 9 * S));
        assert_eq!(none.hear(S, S).0, [Heard { movie_ns: S, skip_ns: 0, length_ns: S }]);
    }

    #[test]
    fn media_that_is_left_out_at_the_head_lies_before_the_movie() {
        let cut = list(&[(0, 3, Some(4))]);
        assert_eq!(cut.place(2 * S), Placed::At(-S));
        assert_eq!(cut.place(5 * S), Placed::At(2 * S));
        assert_eq!(cut.place(7 * S), Placed::Behind);
        assert_eq!((cut.media_time(2 * S), cut.movie_end(8 * S)), (5 * S, 4 * S));
    }

    #[test]
    fn a_pause_at_the_head_delays_the_track() {
        let late = list(&[(1, 0, None)]);
        assert_eq!(late.place(0), Placed::At(S));
        assert_eq!((late.media_time(3 * S), late.movie_end(8 * S)), (2 * S, 9 * S));
    }

    #[test]
    fn what_lies_between_two_entries_is_cut_out() {
        let cut = list(&[(0, 0, Some(2)), (2, 5, Some(2))]).within(S, 3 * S).unwrap();
        assert_eq!(cut.place(S), Placed::At(S));
        assert_eq!(cut.place(3 * S), Placed::CutOut);
        assert_eq!(cut.place(5 * S), Placed::At(2 * S));
        let heard = cut.hear(4 * S, 2 * S);
        assert_eq!(heard, (vec![Heard { movie_ns: 2 * S, skip_ns: S, length_ns: S }], false));
        assert_eq!(cut.hear(6 * S, 2 * S).0, [Heard { movie_ns: 3 * S, skip_ns: 0, length_ns: S }]);
        assert!(cut.hear(6 * S, 2 * S).1);
    }

    #[test]
    fn a_clip_within_one_of_two_swapped_entries_can_be_made_but_not_across() {
        let swapped = list(&[(0, 4, Some(4)), (4, 0, Some(4))]);
        let second = swapped.within(5 * S, 6 * S).unwrap();
        assert_eq!(second.place(S), Placed::At(5 * S));
        assert_eq!(second.place(0), Placed::At(4 * S));
        assert_eq!(swapped.within(3 * S, 5 * S), Err(GoesBack(4 * S)));
    }

    #[test]
    fn a_clip_outside_of_every_entry_keeps_the_nearest() {
        let late = list(&[(3, 0, Some(2))]);
        assert_eq!(late.within(0, S).unwrap(), late);
        assert_eq!(late.within(8 * S, 9 * S).unwrap(), late);
    }
}
