"""Attribution methods behind one protocol, contracts.Explainer: LRP, Captum's and Zennit's, maps from elsewhere."""
