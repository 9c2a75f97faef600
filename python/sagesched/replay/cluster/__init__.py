"""Several replicas behind a chooser: one of SGLang's schedulers each, under one virtual clock."""
