"""Cityscapes' own evaluation, without the score of instances, which is from other files."""

from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling

evalPixelLevelSemanticLabeling.args.evalInstLevelScore = False
evalPixelLevelSemanticLabeling.main()
