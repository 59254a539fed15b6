//! The source element: it implements `create(offset, length)` with [`Source`]. It is a random-access `basesrc`, from
//! which the demuxer pulls, so that only data that the demuxer needs is read.

use crate::source::blocks::Source;
use gst::{glib, subclass::prelude::*};
use gst_base::{prelude::*, subclass::prelude::*};
use gstreamer as gst;
use gstreamer_base as gst_base;
use std::sync::Arc;

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

    /// Stops reading as soon as `enough` returns true: a demuxer continues as long as any stream has data, even if no
    /// element uses it. From then on, reads block until the pipeline stops, because some demuxers treat an end in the
    /// middle of a file as damage.
    pub fn read_until(&self, enough: impl Fn() -> bool + Send + 'static) {
        *self.imp().enough.lock() = Some(Box::new(enough));
    }
}

mod imp {
    use super::*;
    use crate::source::blocks::ReadError;
    use gst_base::subclass::base_src::CreateSuccess;
    use parking_lot::{Condvar, Mutex};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Whether no more data is needed.
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

        /// If there is enough data, waits for an interruption. Returns whether there was enough.
        fn wait_if_enough(&self) -> bool {
            let mut enough = self.enough.lock();
            if !enough.as_ref().is_some_and(|enough| enough()) {
                return false;
            }
            self.interruption.wait_while(&mut enough, |_| !self.interrupted.load(Ordering::Acquire));
            true
        }
    }

    element_class! {
        RangeSource: gst_base::BaseSrc,
        "ClipfleetRangeSource", "Range source", "Source", "Reads ranges of the source",
        pad_template().into_iter().collect()
    }

    fn pad_template() -> Option<gst::PadTemplate> {
        let any = gst::Caps::new_any();
        gst::PadTemplate::new("src", gst::PadDirection::Src, gst::PadPresence::Always, &any).ok()
    }

    impl ObjectImpl for RangeSource {
        fn constructed(&self) {
            self.parent_constructed();
            self.obj().set_format(gst::Format::Bytes);
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
            // With the lock, a reader has either seen the flag, or waits and is woken up.
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
            if self.wait_if_enough() {
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
                    // Wraps the block's bytes without a copy.
                    buffer.append_memory(gst::Memory::from_slice(piece));
                }
                buffer.set_offset(offset);
            }
            Ok(CreateSuccess::NewBuffer(buffer))
        }
    }
}
