"""One small file per touch point in SGLang; ``sagesched.plugin.table`` lists them all."""
