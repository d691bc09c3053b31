//! All deltas and the methods that consist of them: a file a method, and a line in this registry.

use apet_record::{Combined, Foreign, Method, SpecError, with_method};

use crate::{
    delta::DeltaKind,
    layout_builder::{BuildContext, BuildDeltas, LayoutBuilder},
    peft::format::PeftFormat,
};

/// Makes the modules and the lists of kinds and formats from the modules below.
macro_rules! deltas {
    ($($module:ident,)*) => {
        $(pub(crate) mod $module;)*

        /// All kinds of deltas. Those at one attach point act in this order.
        static KINDS: &[&[&DeltaKind]] = &[$($module::KINDS,)*];
        /// All forms of peft's adapters.
        static FORMATS: &[&[PeftFormat]] = &[$($module::FORMATS,)*];
    };
}

deltas! {
    lora,
    lora_scalar,
    dora,
    prompt,
    ia3,
    layer_norm,
    sparse,
    dense,
    apet,
    bitfit,
    adapter,
    full,
    head,
}

/// All kinds of deltas.
pub(crate) fn kinds() -> impl Iterator<Item = &'static DeltaKind> {
    KINDS.iter().flat_map(|kinds| kinds.iter().copied())
}

/// A kind's place in the registry.
pub(crate) fn rank(kind: &DeltaKind) -> usize {
    kinds().take_while(|other| other.name != kind.name).count()
}

/// All forms of peft's adapters.
pub(crate) fn formats() -> impl Iterator<Item = &'static PeftFormat> {
    FORMATS.iter().flat_map(|formats| formats.iter())
}

/// The deltas of a method on a model.
///
/// # Errors
/// Names the field that does not fit the model.
pub(crate) fn build(
    method: &Method,
    context: &BuildContext<'_>,
) -> Result<LayoutBuilder, SpecError> {
    let mut layout = LayoutBuilder::default();
    for (number, part) in method.parts().iter().enumerate() {
        let before = layout.parameters();
        with_method!(part, part => {
            part.build(number, context, &mut layout)?;
            let requested = part.requested(context);
            layout.requested_parameters += requested.unwrap_or(layout.parameters() - before);
        });
    }
    layout.check_exclusive()?;
    Ok(layout)
}

impl BuildDeltas for Combined {
    /// Its parts are built one by one.
    fn build(
        &self,
        _number: usize,
        _context: &BuildContext<'_>,
        _layout: &mut LayoutBuilder,
    ) -> Result<(), SpecError> {
        Ok(())
    }
}

impl BuildDeltas for Foreign {
    fn build(
        &self,
        _number: usize,
        _context: &BuildContext<'_>,
        _layout: &mut LayoutBuilder,
    ) -> Result<(), SpecError> {
        Err(SpecError {
            field: "method.name".into(),
            problem: format!(
                "found {:?} of {}, a run of another program, which can be compared but not run here",
                self.experiment, self.program
            ),
        })
    }
}
