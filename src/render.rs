pub struct Templates;
impl Templates {
    pub fn beside(_: Option<&std::path::Path>) -> Templates {
        Templates
    }
}
