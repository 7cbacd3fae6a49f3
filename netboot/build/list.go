package build

// wanted are the modules of the initramfs, by name or, with a trailing slash, by
// folder below kernel/. What they depend on comes along. A name that the kernel
// has built in is no error; one that it never heard of is.
var wanted = [...]string{
	// Paravirtual machines.
	"virtio_pci", "virtio_net", "virtio_blk", "virtio_scsi", "virtio_balloon", "virtio_rng",
	"vmxnet3", "vmw_pvscsi", "hv_vmbus", "hv_netvsc", "hv_storvsc", "xen_netfront", "xen_blkfront",
	// Disks: NVMe, SATA, SCSI and the common host bus adapters.
	"nvme", "vmd", "ahci", "ata_piix", "ata_generic", "sd_mod", "sg", "isci", "mpi3mr",
	"megaraid_sas", "mpt3sas", "mptsas", "mptspi", "smartpqi", "hpsa", "aacraid", "arcmsr", "3w_sas", "mvsas", "pm80xx",
	"usb_storage", "uas", "xhci_pci", "ehci_pci",
	// NICs.
	"e1000", "e1000e", "igb", "igbvf", "igc", "ixgbe", "ixgbevf", "i40e", "iavf", "ice",
	"bnxt_en", "bnx2", "bnx2x", "tg3", "amd-xgbe", "mlx4_en", "mlx5_core", "r8169", "8139cp", "8139too", "pcnet32", "ena", "atlantic", "cxgb4", "nfp",
	"qede", "be2net", "enic", "sfc", "aqc111", "realtek", "forcedeth", "sky2", "alx", "atl1c", "ne2k_pci",
	// Volumes and file systems.
	"raid1", "raid0", "raid10", "dm_mod", "dm_mirror", "dm_thin_pool", "dm_snapshot", "linear",
	"ext4", "xfs", "btrfs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8", "nls_iso8859-1", "isofs", "loop",
	"efivarfs", "crc32c_generic", "crc32c_intel",
	// Networks and management.
	"8021q", "bonding", "af_packet", "ipmi_si", "ipmi_devintf", "ipmi_ssif", "i2c_i801",
	"dmi_sysfs", "button", "iTCO_wdt",
}
