//! `rung-bindgen MODULE.wasm FOLDER NAME`: writes FOLDER/NAME.js and FOLDER/NAME_bg.wasm, an ES module and its WASM.
//!
//! What `wasm-bindgen --target web` does, but of the version that the lockfile names and without a second installation.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, folder, name] = &arguments[..] else {
        eprintln!("usage: rung-bindgen MODULE.wasm FOLDER NAME");
        return ExitCode::from(2);
    };
    let mut bindgen = Bindgen::new();
    // Types are written by hand beside the module; a worker that failed is put back by the reset function.
    bindgen.input_path(module).out_name(name).typescript(false).reset_state_function(true);
    bindgen.omit_default_module_path(false).remove_name_section(true).remove_producers_section(true);
    match bindgen.web(true).and_then(|bindgen| bindgen.generate(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rung-bindgen: {module}: {error:#}");
            ExitCode::from(2)
        }
    }
}
