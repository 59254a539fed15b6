//! Chooses the source's tracks: one video track, and one audio track if there is any.
//!
//! Decodable tracks are preferred to others, then enabled ones, then default ones, then larger pictures, then earlier
//! tracks. Chapter pictures are never chosen.

use crate::{
    failure,
    plan::{
        catalog::{Decoder, Kind},
        installed::Installed,
    },
    source::{
        bitstream::usual_colours,
        colours::Colours,
        container::Container,
        header::{Header, Track},
        time_line::TimeLine,
    },
};
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gstreamer as gst;
use std::cmp::Reverse;

/// The number of the track of a demuxer's pad: MP4's track id, or Matroska's track number. It is at the end of the
/// stream id. In Matroska, a colon and the track's UID follow it.
pub fn track_number(pad: &gst::Pad) -> Option<u64> {
    let id = pad.stream_id()?;
    id.rsplit('/').next()?.split(':').next()?.parse().ok()
}

/// The kind of a stream, by the name of its caps.
pub fn kind_of(caps: &gst::CapsRef) -> Option<Kind> {
    let name = caps.structure(0)?.name().as_str();
    match name.split('/').next()? {
        "video" | "image" => Some(Kind::Video),
        "audio" => Some(Kind::Audio),
        _ => None,
    }
}

fn without_rate(mut caps: gst::Caps) -> gst::Caps {
    caps.make_mut().iter_mut().for_each(|structure| structure.remove_field("framerate"));
    caps
}

/// The chosen stream of a demuxer, and corrections of its caps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Selection {
    /// See [`track_number`].
    pub number: Option<u64>,
    /// Format of raw audio, if the demuxer does not find it in the header.
    pub sample_format: Option<&'static str>,
    /// Channel positions of raw audio, if the demuxer does not find them in the header.
    pub channel_mask: Option<u64>,
}

impl Selection {
    /// Corrects the caps of a pad.
    ///
    /// The container's colorimetry is removed, because a decoder would prefer it to the pictures' own declaration. A
    /// change of only the frame rate is not forwarded: the demuxer estimates the rate again for each fragment of an
    /// MP4, one picture too early, and parsers and decoders that restart lose that picture.
    pub fn correct_caps(self, pad: &gst::Pad) {
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
            let Some(gst::PadProbeData::Event(event)) = &info.data else { return gst::PadProbeReturn::Ok };
            if let gst::EventView::Caps(caps) = event.view() {
                let corrected = self.corrected(caps.caps_owned());
                let known = pad.peer().and_then(|peer| peer.current_caps());
                if known.is_some_and(|known| without_rate(known) == without_rate(corrected.clone())) {
                    info.data = None;
                    return gst::PadProbeReturn::Handled;
                }
                let event = gst::event::Caps::builder(&corrected).seqnum(event.seqnum()).build();
                info.data = Some(gst::PadProbeData::Event(event));
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn corrected(self, mut caps: gst::Caps) -> gst::Caps {
        for structure in caps.make_mut().iter_mut() {
            structure.remove_field("colorimetry");
            if structure.name() != "audio/x-raw" {
                continue;
            }
            if let Some(format) = self.sample_format {
                structure.set("format", format);
            }
            let declared = structure.get::<gst::Bitmask>("channel-mask").map_or(0, |mask| mask.0);
            if let Some(mask) = self.channel_mask.filter(|_| declared == 0) {
                structure.set("channel-mask", gst::Bitmask::new(mask));
            }
        }
        caps
    }
}

/// One stream of the source.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Identifies the demuxer's stream.
    pub selection: Selection,
    /// Its decoder.
    pub decoder: &'static Decoder,
    /// A parser that the decoder needs.
    pub parser: Option<&'static str>,
    /// Converts its times to times of the file.
    pub time_line: TimeLine,
    /// Colours that are declared outside of the decoder.
    pub colours: Colours,
    /// Its end on the file's time line, if the header declares it.
    pub end_ns: Option<i64>,
}

/// A track that may be chosen.
pub struct Candidate {
    /// The demuxer's pad.
    pub pad: gst::Pad,
    caps: gst::Caps,
    kind: Option<Kind>,
    /// What the header declares.
    pub track: Track,
    number: Option<u64>,
    time_line: TimeLine,
}

impl Candidate {
    /// The track of a pad.
    pub fn new(pad: &gst::Pad, container: Container, header: &Header) -> Self {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let number = track_number(pad);
        let track = number.and_then(|number| header.track(number)).cloned().unwrap_or_default();
        let kind = kind_of(&caps).or(track.kind.filter(|_| track.encrypted));
        let time_line = container.time_line(&track.edits);
        Self { pad: pad.clone(), caps, kind, track, number, time_line }
    }

    fn decoder(&self, installed: &Installed) -> Result<&'static Decoder, Failure> {
        if self.track.encrypted || self.caps.structure(0).is_some_and(|it| it.name() == "application/x-cenc") {
            return Err(failure::source_encrypted());
        }
        let decoder = installed.decoder(&self.caps);
        decoder.map_err(|(codec, remedy)| failure::source_codec_unsupported(&codec, remedy))
    }

    fn pixels(&self) -> i64 {
        let side = |name| self.caps.structure(0).and_then(|it| it.get::<i32>(name).ok()).unwrap_or(0);
        i64::from(side("width")) * i64::from(side("height"))
    }

    fn stream(&self, decoder: &'static Decoder) -> Stream {
        Stream {
            selection: Selection {
                number: self.number,
                sample_format: self.track.sample_format,
                channel_mask: self.track.channel_mask,
            },
            decoder,
            parser: decoder.parser_for(&self.caps),
            time_line: self.time_line.clone(),
            colours: self.track.colours.or(Colours::from_caps(&self.caps)).or(usual_colours(decoder.codec)),
            end_ns: self.track.end_ns(),
        }
    }
}

/// The best track of a kind with its index among the candidates, or why none can be decoded; `None` if there is none.
fn best(candidates: &[Candidate], kind: Kind, installed: &Installed) -> Option<Result<(usize, Stream), Failure>> {
    let of_kind = candidates.iter().enumerate();
    let of_kind = of_kind.filter(|(_, it)| it.kind == Some(kind) && !it.track.chapters);
    let (index, best, decoder) =
        of_kind.map(|(index, it)| (index, it, it.decoder(installed))).min_by_key(|(index, it, decoder)| {
            (decoder.is_err(), it.track.disabled, !it.track.default, Reverse(it.pixels()), *index)
        })?;
    Some(decoder.map(|decoder| (index, best.stream(decoder))))
}

/// The chosen tracks, and the number of tracks of each kind.
pub struct Chosen {
    /// The video track, and its index among the candidates.
    pub video: (usize, Stream),
    /// The audio track, if there is one.
    pub audio: Option<Stream>,
    /// The numbers for the manifest.
    pub tracks: Tracks,
}

/// The chosen tracks in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tracks {
    /// The video track's number in the file.
    pub video: Option<u64>,
    /// The audio track's number in the file.
    pub audio: Option<u64>,
    /// Number of video tracks in the file.
    pub of_video: usize,
    /// Number of audio tracks in the file.
    pub of_audio: usize,
}

/// Chooses the tracks.
pub fn choose(candidates: &[Candidate], installed: &Installed) -> Result<Chosen, Failure> {
    let video = best(candidates, Kind::Video, installed).ok_or_else(failure::source_has_no_video)??;
    let audio = best(candidates, Kind::Audio, installed).transpose()?.map(|(_, stream)| stream);
    let count = |kind| candidates.iter().filter(|it| it.kind == Some(kind)).count();
    let tracks = Tracks {
        video: video.1.selection.number,
        audio: audio.as_ref().and_then(|audio| audio.selection.number),
        of_video: count(Kind::Video),
        of_audio: count(Kind::Audio),
    };
    Ok(Chosen { video, audio, tracks })
}

/// Links the chosen streams of a demuxer to their entries. Data of streams that are not linked is not read any further.
pub(crate) fn connect(demuxer: &gst::Element, entries: Vec<(Kind, Selection, gst::Pad)>) {
    demuxer.connect_pad_added(move |demuxer, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let (kind, number) = (kind_of(&caps), track_number(pad));
        let entry = entries.iter().find(|(wanted, chosen, entry)| {
            kind == Some(*wanted) && (chosen.number.is_none() || chosen.number == number) && !entry.is_linked()
        });
        let Some((_, chosen, entry)) = entry else { return };
        chosen.correct_caps(pad);
        if let Err(error) = pad.link(entry) {
            gst::element_error!(
                demuxer,
                gst::CoreError::Negotiation,
                ("stream {} does not connect: {error}", pad.name())
            );
        }
    });
}
