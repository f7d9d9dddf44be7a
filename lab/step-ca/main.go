// Command step-ca is the real Smallstep CA server, built from Debian's source package, which
// ships the library but no program. It starts a CA and prints its version; it has no init.
package main

import (
	"fmt"
	"os"

	"github.com/smallstep/certificates/authority"
	_ "github.com/smallstep/certificates/cas/softcas" // the signing back end that ca.json defaults to
	"github.com/smallstep/certificates/commands"
	"github.com/urfave/cli"
	"go.step.sm/cli-utils/step"
)

// version is set by the linker from the Debian package, the only place that knows it.
var version = "unknown"

func main() {
	step.Set("Smallstep CA", version, "")
	authority.GlobalVersion.Version = version // what GET /version answers

	app := cli.NewApp()
	app.Name, app.Usage, app.Version = "step-ca", "an online certificate authority", step.Version()
	app.Flags, app.Action = commands.AppCommand.Flags, commands.AppCommand.Action
	app.Commands = []cli.Command{{
		Name:   "version",
		Usage:  "print the version",
		Action: func(*cli.Context) error { _, err := fmt.Println(step.Version()); return err },
	}}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
