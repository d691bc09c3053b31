//! Full fine-tuning: copies of every tensor, or of those of a pool.

use apet_record::{Full, SpecError};

use crate::{
    delta::DeltaKind,
    deltas::dense::Dense,
    layout_builder::{BuildContext, BuildDeltas, LayoutBuilder},
    peft::format::PeftFormat,
    pool::Pool,
    weight::{AttachPoint, Target},
};

pub(crate) const KINDS: &[&DeltaKind] = &[];
pub(crate) const FORMATS: &[PeftFormat] = &[];

impl BuildDeltas for Full {
    fn build(
        &self,
        _number: usize,
        context: &BuildContext<'_>,
        layout: &mut LayoutBuilder,
    ) -> Result<(), SpecError> {
        match &self.pool {
            None => context.sites().for_each(|(id, site)| {
                layout.push(AttachPoint::Site(id), Target::Site(site), Dense);
            }),
            Some(pool) => {
                let sites = &context.architecture.sites;
                for &(id, _) in Pool::new(sites, context.site, pool)?.sites() {
                    layout.push(AttachPoint::Site(id), Target::Site(&sites[id]), Dense);
                }
            }
        }
        Ok(())
    }
}
