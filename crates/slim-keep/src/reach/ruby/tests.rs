//! Whole images: what is kept of them from an entrypoint on.

use crate::reach::testing::{Run, elf};
use slim_image::MemoryTree;

fn kept(runtime: &str, files: &[(&str, &str)]) -> Vec<String> {
    let tree = MemoryTree::new().file(runtime, 0o755, elf());
    let tree = files.iter().fold(tree, |tree, (path, text)| tree.file(*path, 0o644, text));
    Run::new(&tree).keep(&["/app/app.rb", runtime])
}

#[test]
fn the_standard_library_is_kept_by_what_requires_it() {
    let files = [
        (
            "/app/app.rb",
            "require 'json'\nrequire_relative 'lib/a'\nautoload :B, \"#{__dir__}/lib/b\"
             def later; require File.expand_path('../lib/c', __FILE__); end
             require File.join(File.dirname(__FILE__), 'lib', 'd'); load \"/app/lib/e.rb\"
             %w[x].each { |name| require_relative \"plugins/#{name}\" }; require 'absent'; require name",
        ),
        ("/app/lib/a.rb", "require 'lib/f'"),
        ("/app/lib/b.rb", ""),
        ("/app/lib/c.rb", ""),
        ("/app/lib/d.rb", ""),
        ("/app/lib/e.rb", ""),
        ("/app/lib/f.rb", ""),
        ("/app/lib/unused.rb", ""),
        ("/app/plugins/x.rb", ""),
        ("/usr/lib/ruby/3.1.0/json.rb", "require 'json/ext'"),
        ("/usr/lib/ruby/3.1.0/json/ext.rb", "require 'json/ext/parser'"),
        ("/usr/lib/x86_64-linux-gnu/ruby/3.1.0/json/ext/parser.so", ""),
        ("/usr/lib/ruby/3.1.0/csv.rb", ""),
    ];
    assert_eq!(
        kept("/usr/bin/ruby3.1", &files),
        [
            "/app/lib/a.rb",
            "/app/lib/b.rb",
            "/app/lib/c.rb",
            "/app/lib/d.rb",
            "/app/lib/e.rb",
            "/app/lib/f.rb",
            "/app/plugins/x.rb",
            "/usr/lib/ruby/3.1.0/json.rb",
            "/usr/lib/ruby/3.1.0/json/ext.rb",
            "/usr/lib/x86_64-linux-gnu/ruby/3.1.0/json/ext/parser.so",
        ]
    );
    let by_another = kept("/usr/bin/other", &files);
    assert!(!by_another.iter().any(|path| path.starts_with("/usr")), "{by_another:?}");
}

#[test]
fn what_a_compiled_library_requires_lies_in_a_folder_of_its_name() {
    let files = [
        ("/app/app.rb", "require 'psych'"),
        ("/usr/lib/ruby/3.1.0/psych.rb", "require 'psych.so'"),
        ("/usr/lib/x86_64-linux-gnu/ruby/3.1.0/psych.so", ""),
        ("/usr/lib/ruby/3.1.0/psych/syntax_error.rb", ""),
        ("/usr/lib/ruby/3.1.0/csv/row.rb", ""),
    ];
    let kept = kept("/usr/bin/ruby3.1", &files);
    assert!(kept.contains(&"/usr/lib/ruby/3.1.0/psych/syntax_error.rb".to_owned()), "{kept:?}");
    assert!(!kept.contains(&"/usr/lib/ruby/3.1.0/csv/row.rb".to_owned()), "{kept:?}");
}

#[test]
fn a_gem_of_which_one_file_is_required_is_kept_with_its_specification_and_objects() {
    let bundle = "/usr/local/bundle";
    let files = [
        ("/app/app.rb".to_owned(), "require 'used/part'"),
        ("/app/Gemfile".to_owned(), ""),
        (
            "/app/Gemfile.lock".to_owned(),
            "GEM\n  specs:\n    used (1.10.0)\n      dep (~> 1)\n    dep (1.0)\n",
        ),
        ("/app/.bundle/config".to_owned(), ""),
        ("/usr/local/lib/ruby/3.3.0/set.rb".to_owned(), ""),
        (format!("{bundle}/gems/used-1.9.0/lib/used/part.rb"), ""),
        (format!("{bundle}/gems/used-1.10.0/lib/used/part.rb"), ""),
        (format!("{bundle}/gems/used-1.10.0/lib/used/dynamic.rb"), "require 'set'"),
        (format!("{bundle}/gems/used-1.10.0/lib/used/3.3/used.so"), ""),
        (format!("{bundle}/gems/used-1.10.0/lib/used/3.2/used.so"), ""),
        (format!("{bundle}/gems/used-1.10.0/data/table.dat"), ""),
        (format!("{bundle}/gems/used-1.10.0/ext/used.c"), ""),
        (format!("{bundle}/gems/used-1.10.0/spec/used_spec.rb"), ""),
        (format!("{bundle}/extensions/x86_64-linux/3.3.0/used-1.10.0/used/used.so"), ""),
        (format!("{bundle}/extensions/x86_64-linux/3.3.0/used-1.10.0/gem.build_complete"), ""),
        (format!("{bundle}/extensions/x86_64-linux/3.3.0/used-1.10.0/mkmf.log"), ""),
        (
            format!("{bundle}/specifications/used-1.10.0.gemspec"),
            "  s.add_runtime_dependency(%q<dep>.freeze, [\"~> 1\"])",
        ),
        (format!("{bundle}/specifications/dep-1.0.gemspec"), ""),
        (format!("{bundle}/gems/dep-1.0/lib/dep.rb"), ""),
        (format!("{bundle}/specifications/unused-1.gemspec"), ""),
        (format!("{bundle}/gems/unused-1/lib/unused.rb"), ""),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    assert_eq!(
        kept("/usr/local/bin/ruby", &files),
        [
            "/app/.bundle/config",
            "/app/Gemfile",
            "/app/Gemfile.lock",
            "/usr/local/bundle/extensions/x86_64-linux/3.3.0/used-1.10.0/gem.build_complete",
            "/usr/local/bundle/extensions/x86_64-linux/3.3.0/used-1.10.0/used/used.so",
            "/usr/local/bundle/gems/used-1.10.0/data/table.dat",
            "/usr/local/bundle/gems/used-1.10.0/lib/used/3.3/used.so",
            "/usr/local/bundle/gems/used-1.10.0/lib/used/dynamic.rb",
            "/usr/local/bundle/gems/used-1.10.0/lib/used/part.rb",
            "/usr/local/bundle/specifications/dep-1.0.gemspec",
            "/usr/local/bundle/specifications/used-1.10.0.gemspec",
            "/usr/local/lib/ruby/3.3.0/set.rb",
        ]
    );
}

#[test]
fn gems_of_an_application_are_known_by_the_form_of_their_folder() {
    let home = "/app/vendor/bundle/ruby/3.1.0";
    let files = [
        (
            "/app/app.rb".to_owned(),
            String::from("require_relative 'vendor/bundle/ruby/3.1.0/gems/a-1/lib/a'"),
        ),
        (format!("{home}/gems/a-1/lib/a.rb"), "require 'b'".to_owned()),
        (format!("{home}/gems/b-2/lib/b.rb"), String::new()),
        (format!("{home}/gems/c-2/lib/c.rb"), String::new()),
        (format!("{home}/specifications/b-2.gemspec"), String::new()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert_eq!(
        kept("/usr/local/lib/libruby.so.3.1", &files),
        [
            format!("{home}/gems/a-1/lib/a.rb"),
            format!("{home}/gems/b-2/lib/b.rb"),
            format!("{home}/specifications/b-2.gemspec")
        ]
    );
}
