//! naga accepts every shader (the browser tests check WebGPU's own compilers), and each
//! shader's header documents its buffers and cost.

use naga::{
    AddressSpace, StorageAccess,
    valid::{Capabilities, ValidationFlags, Validator},
};

#[test]
fn shaders_are_valid_and_say_what_they_take() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shaders");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        let name = path.display();
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&source)));
        // Only the features that every WebGPU device has.
        Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&source)));
        assert_eq!(module.entry_points.len(), 1, "{name}");
        assert_eq!(module.entry_points[0].name, "main", "{name}");
        // CubeCL binds a launch's parameters after its tensors.
        let mut bindings: Vec<(u32, bool)> = module
            .global_variables
            .iter()
            .filter_map(|(_, variable)| {
                let AddressSpace::Storage { access } = variable.space else {
                    return None;
                };
                let written = access.contains(StorageAccess::STORE);
                Some((variable.binding.as_ref()?.binding, written))
            })
            .collect();
        bindings.sort_unstable();
        let last = bindings.len() - 1;
        for (place, binding) in bindings.iter().enumerate() {
            assert_eq!(*binding, (place as u32, place < last), "{name}");
            assert!(
                source.contains(&format!("\n//   {place}  ")),
                "{name}: its header does not document buffer {place}"
            );
        }
        assert!(
            source.contains("Cost: O("),
            "{name}: its header has no cost"
        );
        seen += 1;
    }
    assert!(seen >= 9, "found {seen} shaders in {folder}");
}
