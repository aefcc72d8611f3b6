"""Cityscapes' own evaluation, without the score of instances, which is from other files."""

import cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling as scripts

scripts.args.evalInstLevelScore = False
scripts.main()
