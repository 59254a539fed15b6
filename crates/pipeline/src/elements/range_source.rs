//! The source element: `create(offset, length)` answered from [`Source`]. Being a random-access `basesrc` it is pulled by the
//! demuxer, so only what the demuxer looks at is ever fetched.
// The subclass macros of gstreamer-rs implement unsafe traits; there is no unsafe code of ours here.
#![allow(unsafe_code)]

use crate::source::Source;
use gst::{glib, subclass::prelude::*};
use gst_base::{prelude::*, subclass::prelude::*};
use gstreamer as gst;
use gstreamer_base as gst_base;
use std::sync::{Arc, LazyLock};

glib::wrapper! {
    /// Feeds a pipeline from a [`Source`].
    pub struct RangeSource(ObjectSubclass<imp::RangeSource>) @extends gst_base::BaseSrc, gst::Element, gst::Object;
}

impl RangeSource {
    /// An element that reads `source`.
    pub fn new(source: Arc<Source>) -> Self {
        let element: Self = glib::Object::new();
        *element.imp().source.lock() = Some(source);
        element
    }

    /// Reads no more once `enough` holds: a demuxer goes on as long as any stream has data, even one that nothing takes. Whoever asks is
    /// left waiting until the pipeline stops, since an end in the middle of a file is damage to some demuxers.
    pub fn read_until(&self, enough: impl Fn() -> bool + Send + 'static) {
        *self.imp().enough.lock() = Some(Box::new(enough));
    }
}

mod imp {
    use super::*;
    use crate::source::ReadError;
    use gst_base::subclass::base_src::CreateSuccess;
    use parking_lot::{Condvar, Mutex};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Whether nothing more is needed.
    type Enough = Box<dyn Fn() -> bool + Send>;

    #[derive(Default)]
    pub struct RangeSource {
        pub(super) source: Mutex<Option<Arc<Source>>>,
        pub(super) enough: Mutex<Option<Enough>>,
        interrupted: AtomicBool,
        interruption: Condvar,
    }

    impl RangeSource {
        fn source(&self) -> Option<Arc<Source>> {
            self.source.lock().clone()
        }

        /// Waits to be interrupted if there is enough; whether there was.
        fn rest(&self) -> bool {
            let mut enough = self.enough.lock();
            if !enough.as_ref().is_some_and(|enough| enough()) {
                return false;
            }
            self.interruption.wait_while(&mut enough, |_| !self.interrupted.load(Ordering::Acquire));
            true
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for RangeSource {
        const NAME: &'static str = "ClipfleetRangeSource";
        type Type = super::RangeSource;
        type ParentType = gst_base::BaseSrc;
    }

    impl ObjectImpl for RangeSource {
        fn constructed(&self) {
            self.parent_constructed();
            self.obj().set_format(gst::Format::Bytes);
        }
    }

    impl GstObjectImpl for RangeSource {}

    impl ElementImpl for RangeSource {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                gst::subclass::ElementMetadata::new("Range source", "Source", "Reads ranges of the source", "Clipfleet")
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                let any = gst::Caps::new_any();
                gst::PadTemplate::new("src", gst::PadDirection::Src, gst::PadPresence::Always, &any)
                    .into_iter()
                    .collect()
            });
            &TEMPLATES
        }
    }

    impl BaseSrcImpl for RangeSource {
        fn start(&self) -> Result<(), gst::ErrorMessage> {
            self.interrupted.store(false, Ordering::Release);
            Ok(())
        }

        fn stop(&self) -> Result<(), gst::ErrorMessage> {
            Ok(())
        }

        fn is_seekable(&self) -> bool {
            true
        }

        fn size(&self) -> Option<u64> {
            self.source().map(|source| source.size())
        }

        fn unlock(&self) -> Result<(), gst::ErrorMessage> {
            self.interrupted.store(true, Ordering::Release);
            // Whoever is about to wait has seen it, or waits and is woken.
            drop(self.enough.lock());
            self.interruption.notify_all();
            Ok(())
        }

        fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
            self.interrupted.store(false, Ordering::Release);
            Ok(())
        }

        fn create(
            &self,
            offset: u64,
            _buffer: Option<&mut gst::BufferRef>,
            length: u32,
        ) -> Result<CreateSuccess, gst::FlowError> {
            let source = self.source().ok_or(gst::FlowError::NotNegotiated)?;
            if offset >= source.size() {
                return Err(gst::FlowError::Eos);
            }
            if self.rest() {
                return Err(gst::FlowError::Flushing);
            }
            let pieces = source.read(offset, u64::from(length), &self.interrupted).map_err(|error| match error {
                ReadError::Interrupted => gst::FlowError::Flushing,
                ReadError::Failed(failure) => {
                    gst::element_imp_error!(self, gst::ResourceError::Read, ("{}: {}", failure.code, failure.message));
                    gst::FlowError::Error
                }
            })?;
            let mut buffer = gst::Buffer::new();
            if let Some(buffer) = buffer.get_mut() {
                for piece in pieces {
                    // Wraps the block's bytes; nothing is copied.
                    buffer.append_memory(gst::Memory::from_slice(piece));
                }
                buffer.set_offset(offset);
            }
            Ok(CreateSuccess::NewBuffer(buffer))
        }
    }
}
