//! Checks that the families share for the fields of their config.json.

use crate::PlmError;

/// Checks the fields of a config.json. Errors name the file, the field and what is supported.
pub struct Checks<'a>(pub(crate) &'a str);

impl Checks<'_> {
    /// An error about this file.
    pub(crate) fn refuse<T>(&self, problem: String) -> Result<T, PlmError> {
        Err(PlmError::new(self.0, problem))
    }

    /// Checks that sizes are from 1 to 2^31. No tensor of a larger size could be addressed.
    pub(crate) fn sizes(&self, fields: &[(&str, usize)]) -> Result<(), PlmError> {
        match fields
            .iter()
            .find(|(_, size)| *size == 0 || *size >= 1 << 31)
        {
            Some((field, size)) => self.refuse(format!(
                "\"{field}\": {size}, expected a number from 1 to 2^31"
            )),
            None => Ok(()),
        }
    }

    /// Checks a number of blocks, at most 1000: a larger one would only use up memory.
    pub(crate) fn blocks(&self, field: &str, count: usize) -> Result<(), PlmError> {
        if count == 0 || count > 1000 {
            return self.refuse(format!(
                "\"{field}\": {count}, expected a number from 1 to 1000"
            ));
        }
        Ok(())
    }

    /// Checks that one size is a multiple of another.
    pub(crate) fn divides(
        &self,
        (part, count): (&str, usize),
        (whole, size): (&str, usize),
    ) -> Result<(), PlmError> {
        if count == 0 || !size.is_multiple_of(count) {
            return self.refuse(format!(
                "\"{part}\": {count} does not divide \"{whole}\": {size}"
            ));
        }
        Ok(())
    }

    /// Checks a table of relative positions.
    pub(crate) fn buckets(
        &self,
        field: &str,
        count: usize,
        farthest: usize,
    ) -> Result<(), PlmError> {
        // Half of a direction's buckets hold one distance each, the rest reach to `farthest`.
        if count < 4 || !count.is_multiple_of(2) || count / 2 >= farthest || count >= 1 << 16 {
            return self.refuse(format!(
                "\"{field}\": {count}, expected an even number from 4, its half below {farthest}"
            ));
        }
        Ok(())
    }

    /// Checks that switches are off.
    pub(crate) fn off(&self, fields: &[(&str, bool)]) -> Result<(), PlmError> {
        match fields.iter().find(|(_, on)| *on) {
            Some((field, _)) => self.refuse(format!("\"{field}\": true is not supported (false)")),
            None => Ok(()),
        }
    }
}
