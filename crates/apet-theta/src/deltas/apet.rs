//! APET: its selectors decide which deltas there are.

use apet_record::{Apet, SpecError};

use crate::{
    budget,
    delta::DeltaKind,
    layout_builder::{BuildContext, BuildDeltas, LayoutBuilder},
    peft::format::PeftFormat,
    selectors,
};

pub(crate) const KINDS: &[&DeltaKind] = &[];
pub(crate) const FORMATS: &[PeftFormat] = &[];

impl BuildDeltas for Apet {
    fn build(
        &self,
        number: usize,
        context: &BuildContext<'_>,
        layout: &mut LayoutBuilder,
    ) -> Result<(), SpecError> {
        selectors::add(self, number, context, layout)
    }

    fn requested(&self, context: &BuildContext<'_>) -> Option<u64> {
        Some(budget::count(self.count, context.architecture))
    }
}
