// Package pluginv1 is the generated form of gantry.plugin.v1, the contract
// between the appliance and its device drivers. The .proto files beside this
// one are its source and its documentation; plugins/proto/generate.sh makes
// the rest. Nothing here is written by hand but this comment.
package pluginv1
